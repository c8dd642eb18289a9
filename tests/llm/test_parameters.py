"""Which parameters a server's error refuses: real messages, messages of the same form, and ordinary errors."""

from __future__ import annotations

import json

import pytest

from distask.llm.adaptation import Adaptation, Adapter
from distask.llm.pacing.failure_rules import Situation, classify
from distask.llm.refused_parameters import find_refusal, refuses_system
from distask.llm.request import Failure, Request

SENT = (
    "temperature", "top_p", "max_tokens", "stop", "seed", "logprobs", "top_logprobs", "frequency_penalty",
    "presence_penalty", "response_format", "tool_choice", "reasoning_effort", "top_k", "parallel_tool_calls",
    "verbosity", "logit_bias", "service_tier",
)  # fmt: skip

REFUSED = [
    ("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead. (parameter: max_tokens)", {"max_tokens"}),
    ("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", {"max_tokens"}),
    ("Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported. (parameter: temperature)", {"temperature"}),
    ("Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is supported.", {"temperature"}),
    ("litellm.BadRequestError: OpenAIException - Unsupported parameter: 'stop' is not supported with this model.", {"stop"}),
    ("`temperature` and `top_p` cannot both be specified for this model. Please use only one.", {"temperature", "top_p"}),
    ("`temperature` is deprecated for this model.", {"temperature"}),
    ("`temperature` may only be set to 1 when thinking is enabled or in adaptive mode. Please consult our documentation", {"temperature"}),
    ("temperature: range: 0..1", {"temperature"}),
    ("top_p cannot be set to -1 for this model.", {"top_p"}),
    ("max_tokens: 16384 > 8192, which is the maximum allowed number of output tokens for claude-3-5", {"max_tokens"}),
    ("litellm.UnsupportedParamsError: gemini does not support parameters: ['presence_penalty'], for model=gemini-2.0-flash-001. To drop these, set `litellm.drop_params=True`", {"presence_penalty"}),
    ("litellm.UnsupportedParamsError: openai does not support parameters: {'temperature': 0, 'seed': 3}, for model=o1", {"seed", "temperature"}),
    ("litellm.UnsupportedParamsError: gpt-5-nano doesn't support temperature=0.1 while reasoning is active. Only temperature=1 is supported unless reasoning.effort resolves", {"temperature"}),
    ('litellm.BadRequestError: XaiException - {"code":"Client specified an invalid argument","error":"Argument not supported on this model: frequencyPenalty"}', {"frequency_penalty"}),
    ("Argument not supported on this model: presencePenalty", {"presence_penalty"}),
    ("Argument not supported on this model: stop", {"stop"}),
    ("Model grok-4-1-fast-reasoning does not support parameter presencePenalty.", {"presence_penalty"}),
    ('Invalid JSON payload received. Unknown name "frequency_penalty": Cannot find field.\nInvalid JSON payload received. Unknown name "seed": Cannot find field.', {"frequency_penalty", "seed"}),
    ("Invalid JSON payload received. Unknown name \"extra_body\" at 'extra_body': Cannot find field. Invalid JSON payload received. Unknown name \"top_k\": Cannot find field.", {"top_k"}),
    ("Penalty is not enabled for models/gemini-2.5-flash", {"frequency_penalty", "presence_penalty"}),
    ("Logprobs is not enabled for models/gemini-2.5-pro", {"logprobs"}),
    ("Unable to submit request because Logprobs is not supported for this model.", {"logprobs"}),
    ("Logprobs is not supported for the current model", {"logprobs"}),
    ("You are not allowed to request logprobs from this model", {"logprobs"}),
    ("property 'logprobs' is unsupported, did you mean 'stop'?", {"logprobs"}),
    ("property 'reasoning_effort' is unsupported, did you mean 'reasoning_format'?", {"reasoning_effort"}),
    ("`logprobs` is not supported with this model", {"logprobs"}),
    ("5 is greater than the maximum of 1 - 'logprobs' (parameter: logprobs)", {"logprobs"}),
    ("5 is greater than the maximum of 1 - 'logprobs'", {"logprobs"}),
    ('{"detail":[{"type":"extra_forbidden","loc":["body","frequency_penalty"],"msg":"Extra inputs are not permitted","input":0.0}]}', {"frequency_penalty"}),
    ('[{"loc": ["body", "temperature"], "msg": "extra fields not permitted", "type": "value_error.extra"}]', {"temperature"}),
    ("[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'Extra inputs are not permitted', 'input': 1}]", {"seed"}),
    ("1 validation error for CreateChatCompletion\nresponse_format\n  extra fields not permitted (type=value_error.extra)", {"response_format"}),
    ("1 validation error for CreateChatCompletion response_format extra fields not permitted (type=value_error.extra)", {"response_format"}),
    ("Unrecognized request argument supplied: reasoning_effort", {"reasoning_effort"}),
    ("Unrecognized request arguments supplied: seed, top_k", {"seed", "top_k"}),
    ("Unknown parameter: 'seed'.", {"seed"}),
    ("Gaudi doesn't support logprobs. Please remove 'logprobs'/'top_logprobs' from your request to receive a response.", {"logprobs", "top_logprobs"}),
    ("This response_format type is unavailable now", {"response_format"}),
    ("Failed to deserialize the JSON body into the target type: response_format: response_format.type `json_schema` is unavailable now at line 1 column 12440", {"response_format"}),
    ("Failed to deserialize the JSON body into the target type: unknown field `seed`, expected one of `model`, `messages`, `temperature` at line 1", {"seed"}),
    ('json: unknown field "seed"', {"seed"}),
    ("Additional properties are not allowed ('seed' was unexpected)", {"seed"}),
    ("invalid temperature: only 1 is allowed for this model", {"temperature"}),
    ("invalid presence_penalty: only 0 is allowed for this model", {"presence_penalty"}),
    ('"llama3.1:8b" does not support thinking', {"reasoning_effort"}),
    ("No endpoints found that support the provided 'tool_choice' value. To learn more about provider routing", {"tool_choice"}),
    ("Malformed input request: extraneous key [temperature] is not permitted, please reformat your input and try again.", {"temperature"}),
    ("Malformed input request: #: extraneous key [top_k] is not permitted", {"top_k"}),
    ("temperature must be ≤ 1", {"temperature"}),
    ("temperature must be <= 1.0, got 1.5", {"temperature"}),
    ("Temperature must be between 0 and 1", {"temperature"}),
    ("Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model. Learn more", {"response_format"}),
    ("Invalid schema for response_format 'x': In context=('properties', 'a'), 'minLength' is not permitted. (parameter: response_format)", {"response_format"}),
    ("Unable to submit request because it has a temperature value of 3 but the supported range is from 0 (inclusive) to 2.1 (exclusive).", {"temperature"}),
    ("Function tools with reasoning_effort are not supported for gpt-5.6-luna in /v1/chat/completions. Please use /v1/responses instead.", {"reasoning_effort"}),
    ("Invalid value: 'none'. Supported values are: 'low', 'medium', and 'high'. (parameter: reasoning_effort)", {"reasoning_effort"}),
    ("Unsupported parameter: temperature", {"temperature"}),
    ("max_tokens is too large: 200000. This model supports at most 128000 completion tokens, whereas you provided 200000. (parameter: max_tokens)", {"max_tokens"}),
    ("logprobs are not supported with reasoning models", {"logprobs"}),
    ("The parameter `seed` is not valid for this model", {"seed"}),
    ("seed: Extra inputs are not permitted", {"seed"}),
    ("temperature参数不支持", {"temperature"}),
    ("The model returned the following errors: `temperature` is deprecated for this model.", {"temperature"}),
    ("This model doesn't support the temperature field. Remove temperature and try again.", {"temperature"}),
    ("This model does not support 'parallel_tool_calls'", {"parallel_tool_calls"}),
    ("frequency_penalty and presence_penalty are not supported by this model", {"frequency_penalty", "presence_penalty"}),
    ("ValidationException: The parameter 'top_p' isn't allowed", {"top_p"}),
    ("The 'seed' parameter is not available for this deployment.", {"seed"}),
    ("Setting `top_p` is not supported by claude-opus-5", {"top_p"}),
    ("Parameter 'stop' not supported", {"stop"}),
    ("stop is not supported", {"stop"}),
    ("Model does not support stop sequences", {"stop"}),
    ("ValidationException: This model doesn't support the stopSequences field. Remove stopSequences and try again.", {"stop"}),
    ("This model does not support the topP parameter", {"top_p"}),
    ("reasoning_effort is only supported for reasoning models", {"reasoning_effort"}),
    ("Reasoning effort is not supported for this model", {"reasoning_effort"}),
    ("Invalid value for parameter temperature: 0. Expected 1.", {"temperature"}),
    ("Invalid 'temperature': decimal above maximum value. Expected a value <= 1, but got 1.5 instead. (parameter: temperature)", {"temperature"}),
    ("Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.", {"temperature"}),
    ('[{"type":"less_than_equal","loc":["body","temperature"],"msg":"Input should be less than or equal to 1.5","input":2,"ctx":{"le":1.5}}]', {"temperature"}),
    ("logit_bias is not supported", {"logit_bias"}),
    ("The following parameters are not supported: logit_bias, logprobs", {"logit_bias", "logprobs"}),
    ("unsupported parameters: ['logit_bias', 'seed']", {"logit_bias", "seed"}),
    ("Request contains unsupported field(s): frequency_penalty, presence_penalty", {"frequency_penalty", "presence_penalty"}),
    ("`verbosity` isn't available on this model", {"verbosity"}),
    ("Unsupported value: 'verbosity' does not support 'low' with this model. Supported values are: 'medium'.", {"verbosity"}),
    ("response_format 'json_schema' is not supported by this model", {"response_format"}),
    ("json_schema response format is not supported for model llama", {"response_format"}),
    ("This model does not support response format `json_schema`. See supported models", {"response_format"}),
    ("Structured outputs are not supported on this model", {"response_format"}),
    ("'response_format.type' must be 'json_schema' or 'text'", {"response_format"}),
    ("'response_format.type' must be one of 'text'", {"response_format"}),
    ("tool_choice 'required' is not supported", {"tool_choice"}),
    ("Thinking mode does not support this tool_choice", {"tool_choice"}),
    ("invalid_request_error: tool_choice required is not supported in thinking mode", {"tool_choice"}),
    ("Input validation error: `temperature` must be strictly positive", {"temperature"}),
    ("Input validation error: `top_p` must be > 0.0 and < 1.0", {"top_p"}),
    ("temperature (0.0) has to be a strictly positive float", {"temperature"}),
    ("`temperature` (=0.0) has to be a strictly positive float, otherwise your next token scores will be invalid.", {"temperature"}),
    ("'temperature' must be greater than 0", {"temperature"}),
    ("Value error, temperature must be non-negative, got -1", {"temperature"}),
    ("top_logprobs must be at most 5", {"top_logprobs"}),
    ("top_logprobs: ensure this value is less than or equal to 5", {"top_logprobs"}),
    ("Extra inputs are not permitted: seed", {"seed"}),
    ("extra inputs are not permitted: temperature", {"temperature"}),
    ("Unexpected keyword argument 'logprobs'", {"logprobs"}),
    ("create() got an unexpected keyword argument 'seed'", {"seed"}),
    ("Invalid argument: the parameter `presence_penalty` is not recognized", {"presence_penalty"}),
    ("Sorry, temperature can't be changed for this model.", {"temperature"}),
    ("Custom temperature is not allowed; use the default.", {"temperature"}),
    ("temperature: unsupported", {"temperature"}),
    ("max_tokens is not supported, please use max_completion_tokens", {"max_tokens"}),
    ("Please use max_completion_tokens instead of max_tokens", {"max_tokens"}),
    ("'max_tokens' has been replaced by 'max_completion_tokens'", {"max_tokens"}),
    ("The max_tokens parameter is deprecated. Use max_completion_tokens.", {"max_tokens"}),
    ("this model is not supported MaxTokens, please use MaxCompletionTokens", {"max_tokens"}),
    ("Error code 400: parameter.temperature is invalid", {"temperature"}),
    ("InvalidParameter: parameter top_logprobs is not supported by model", {"top_logprobs"}),
    ("<400> InternalError.Algo.InvalidParameter: Temperature should be in [0.0, 2.0)", {"temperature"}),
    ("n must be 1 and seed is unsupported", {"seed"}),
    ("service_tier 'flex' is not available for this model", {"service_tier"}),
    ("Invalid service_tier argument", {"service_tier"}),
    ("param `temperature` not allowed", {"temperature"}),
    ("field top_k is not supported on this endpoint", {"top_k"}),
    ("We do not support logprobs for this model", {"logprobs"}),
    ("Log probabilities are disabled for this model", {"logprobs"}),
    ("logprobs cannot be requested for this model", {"logprobs"}),
    ("access to logprobs is denied for this model", {"logprobs"}),
    ("You do not have permission to use logprobs", {"logprobs"}),
    ("Your organization is not allowed to use the logprobs parameter", {"logprobs"}),
    ("temperature is fixed at 1 for this model", {"temperature"}),
    ("This model only supports temperature=1", {"temperature"}),
    ("Only temperature 1 is supported for this model", {"temperature"}),
    ("Only the default temperature (1) is supported", {"temperature"}),
    ("temperature does not support 0", {"temperature"}),
    ("The model does not accept temperature", {"temperature"}),
    ("the model rejects `seed`", {"seed"}),
]  # fmt: skip

ORDINARY = [
    "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4000 in the messages, 1000 in the completion, temperature 0).",
    "Your request with temperature=0 and max_tokens=16 could not be processed: messages[0].content is invalid",
    "Invalid value for 'content': expected a string, got null. temperature=0 (parameter: messages[0].content)",
    "Requests with temperature=0 must be sent without images",
    "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
    "Invalid image: unsupported image type; the request had temperature 0",
    '[{"type":"missing","loc":["body","messages"],"msg":"Field required","input":{"model":"m","temperature":0,"seed":1}}]',
    '{"detail":[{"type":"extra_forbidden","loc":["body","messages",0,"user","name"],"msg":"Extra inputs are not permitted","input":""}]}',
    "Bad request: model m, temperature 0, max_tokens 16",
    "Please stop: your account is not supported",
    "The seed data of this request is invalid",
    "The temperature of the server is too high, try again later",
    "Invalid schema for function 'note': unsupported type (parameter: tools[0].function.parameters)",
    "The reasoning in this message is not allowed by our policy",
    "your prompt asks whether a temperature of 40 degrees is dangerous, and content like this is not allowed",
    "invalid request body: unexpected end of JSON input",
    "An error occurred while sampling with temperature 0.0 and top_p 1.0",
    "Could not parse 'messages': invalid type: sequence, expected a string",
    "max_tokens plus prompt tokens must fit the context of 4096 tokens",
    "Failed to parse response: temperature=0 top_p=1",
    "Image input is not supported by this model (request: temperature=0, max_tokens=50)",
    "Unsupported file type: image/bmp. Parameters: temperature=0",
    "Invalid base64 image. seed=3",
    "The audio modality is not supported. You sent temperature 0.",
    "Missing required parameter: 'messages[0].content' (parameter: messages[0].content)",
    "Invalid type for 'messages[0].content': expected string. (parameter: messages[0].content)",
    "messages: text content blocks must be non-empty",
    "Your input contains a stop word that is not allowed",
    "Prompt rejected: asking how to reach a high temperature is not permitted under our policy",
    "Requests must set a valid model; temperature was 0",
    "Unsupported content type 'image_url' in messages. Request parameters: {'temperature': 0, 'max_tokens': 50}",
    'Could not process request {"temperature": 0, "max_tokens": 50}: the image is invalid',
    "Error in model output with temperature 0.0",
    "Invalid prompt: your prompt was flagged",
    "max retries exceeded",
    "The service is not available in your region (temperature=0)",
    "You exceeded the maximum number of images; temperature 0",
]  # fmt: skip

SYSTEM = [
    "System role not supported",
    "Unsupported value: 'messages[0].role' does not support 'system' with this model. (parameter: messages[0].role)",
    "Developer instruction is not enabled for models/gemma-3-27b-it",
    "Only user and assistant roles are supported!",
    "Conversation roles must alternate user/assistant/user/assistant/...",
    'Error rendering prompt with jinja template: "System role not supported".',
    "messages[1].role: unknown variant `system`, expected one of",
    "system messages are not supported by this model",
    "This model does not support system messages",
    "Invalid role: system",
    "Only 'user' and 'assistant' roles are allowed",
    "This model does not support the system role",
    "System prompts are not supported for this model",
    "The system role isn't supported",
    "Template error: System role not supported",
    "role 'system' is not supported",
    "Unsupported role: 'system'",
    "messages.0.role: Input should be 'user' or 'assistant'",
    "system: unsupported message role",
    "Roles must alternate between user and assistant; system messages unsupported",
    "jinja2.exceptions.TemplateError: System role not supported",
    "Gemma does not support a system prompt",
    "System instruction is not enabled for this model",
    "system instructions are not supported for gemma-3",
    "The model does not have a system role",
    "Instruction role `system` unknown",
    "Model does not accept a system message",
    "unexpected message role: system",
    "Only user, assistant and tool roles are supported, got system.",
    "Conversation roles must alternate user/model/user/model",
    "`system` role is not permitted",
]  # fmt: skip


@pytest.mark.parametrize(("message", "names"), REFUSED)
def test_a_message_that_refuses_parameters_names_them(message, names):
    refusal = find_refusal(message, SENT)

    assert refusal is not None
    assert set(refusal.parameters) == names


@pytest.mark.parametrize("message", ORDINARY)
def test_a_message_that_only_mentions_parameters_refuses_none(message):
    assert find_refusal(message, SENT) is None


def test_only_what_was_sent_is_refused():
    assert find_refusal("Unsupported parameter: 'temperature' is not supported with this model.", ["top_p"]) is None


@pytest.mark.parametrize("message", SYSTEM)
def test_a_message_that_refuses_the_system_role_is_known(message):
    assert refuses_system(message)


@pytest.mark.parametrize(
    "message",
    [
        "After the optional system message, conversation roles must alternate user/assistant",
        "system_fingerprint is missing",
        "The system is not available",
        "This operating system is not supported",
        "the operating system does not support this",
        "your system message is too long",
        "System error: not supported media type",
        "messages: system message content must be a string",
    ],
)
def test_other_messages_about_a_system_do_not(message):
    assert not refuses_system(message)


ONE_VALUE = (
    "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported."
)


@pytest.mark.parametrize(
    ("message", "value"),
    [
        ("temperature must be <= 1", True),
        ("max_tokens is too large: 200000. This model supports at most 128000 completion tokens", True),
        (ONE_VALUE, False),
        ("invalid temperature: only 1 is allowed for this model", False),
        ("Unsupported parameter: 'temperature' is not supported with this model.", False),
    ],
)
def test_a_range_differs_from_a_parameter_that_takes_nothing_else(message, value):
    assert find_refusal(message, SENT).value is value


BODIES = [
    # status, message, kind, scope
    (403, "You are not allowed to request logprobs from this model", "bad_request", "row"),
    (403, "You have no access to this model", "permission", "run"),
    (404, "No endpoints found that support the provided 'tool_choice' value.", "bad_request", "row"),
    (404, "No endpoints found for x", "not_found", "run"),
    (500, "System role not supported", "bad_request", "row"),
    (500, "The temperature sensor failed", "server_error", "retry"),
    (400, "litellm.ContextWindowExceededError: VertexAI - too big", "context_length", "row"),
    (400, "ContextWindowExceededError", "context_length", "row"),
    (400, "input length and `max_tokens` exceed context limit: 179413 + 32768 > 200000, decrease `max_tokens`", "context_length", "row"),
    (400, "The input token count exceeds the maximum number of tokens allowed (1048576).", "context_length", "row"),
    (400, "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 509178 tokens.", "context_length", "row"),
    (400, "Range of input length should be [1, 30720]", "context_length", "row"),
    (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 tokens", "context_length", "row"),
    (400, "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length is 4096", "context_length", "row"),
    (400, "Prompt contains 40000 tokens, too large for model with 32768 maximum context length", "context_length", "row"),
    (429, "This request would exceed your rate limit of 30,000 input tokens per minute. The maximum is lower.", "rate_limit", "retry"),
    (429, "Rate limit reached on tokens per min (TPM): Limit 30000, Used 29000", "rate_limit", "retry"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "message", "kind", "scope"), BODIES)
def test_the_rules_report_refusals_and_contexts_from_the_rest(status, message, kind, scope):
    failure = classify(status, {}, json.dumps({"error": {"message": message}}), Situation("http://h/v1", "m"))

    assert (failure.kind, failure.scope) == (kind, scope)


def request(messages=None, **keywords):
    return Request("http://h/v1", "m", messages or [{"role": "user", "content": "hi"}], keywords)


def refused(message):
    return Failure("bad_request", message, "row", 400)


def test_what_was_learned_while_a_request_was_in_flight_is_not_learned_twice():
    lines = []
    adapter = Adapter(lines.append)
    sent, failure = request(max_tokens=5), refused("Unsupported parameter: 'max_tokens'")

    assert adapter.learn(sent, failure) is None
    assert adapter.learn(sent, failure) is None

    assert adapter.fit(sent).keywords == {"max_completion_tokens": 5}
    assert lines == ["m refuses `max_tokens`: it is sent as `max_completion_tokens`"]


def test_a_limit_that_is_refused_under_both_names_is_left_out():
    adapter = Adapter(lambda _: None)
    sent = request(max_tokens=5)
    adapter.learn(sent, refused("Unsupported parameter: 'max_tokens'"))

    assert adapter.learn(adapter.fit(sent), refused("Unknown parameter: 'max_completion_tokens'")) is None

    assert adapter.fit(sent).keywords == {}


def test_a_refused_value_says_nothing_of_another_value():
    adapter = Adapter(lambda _: None)
    adapter.learn(request(temperature=1.5), refused("temperature must be <= 1"))

    assert adapter.fit(request(temperature=1.5)).keywords == {}
    assert adapter.fit(request(temperature=0.5)).keywords == {"temperature": 0.5}


def test_the_schema_of_one_task_says_nothing_of_another_tasks_schema():
    adapter = Adapter(lambda _: None)

    def asked(name):
        return request(response_format={"type": "json_schema", "json_schema": {"name": name, "schema": {}}})

    adapter.learn(asked("a"), refused("Invalid schema for response_format 'a': 'minLength' is not permitted."))

    assert adapter.fit(asked("a")).keywords == {}
    assert adapter.fit(asked("b")).keywords == asked("b").keywords


def test_keys_of_extra_body_are_parameters_too():
    adapter = Adapter(lambda _: None)
    sent = request(extra_body={"top_k": 3, "min_p": 0.1})

    adapter.learn(sent, refused("Unrecognized request argument supplied: top_k"))

    assert adapter.fit(sent).keywords == {"extra_body": {"min_p": 0.1}}


def test_system_text_goes_before_the_parts_of_an_image_message():
    image = {"type": "image_url", "image_url": {"url": "data:"}}
    text = {"type": "text", "text": "B"}
    messages = [
        {"role": "system", "content": "A"},
        {"role": "user", "content": [text, image]},
        {"role": "assistant", "content": "C"},
    ]
    adaptation = Adaptation("http://h/v1", "m", "chat", "merge_system", "system")

    merged = adaptation.apply(request(messages)).messages

    assert merged == [{"role": "user", "content": [{"type": "text", "text": "A"}, text, image]}, messages[2]]


def test_a_chat_of_a_system_message_alone_becomes_the_users():
    adaptation = Adaptation("http://h/v1", "m", "chat", "merge_system", "system")

    assert adaptation.apply(request([{"role": "system", "content": "A"}])).messages == [
        {"role": "user", "content": "A"}
    ]
