"""Tables of tokens without a network: one of single bytes stands for those that tiktoken fetches when they are asked for."""

import tiktoken

BYTES = tiktoken.Encoding(
    "bytes", pat_str=r"\S+|\s+", mergeable_ranks={bytes([i]): i for i in range(256)}, special_tokens={}
)
tiktoken.get_encoding = tiktoken.encoding_for_model = lambda _: BYTES
