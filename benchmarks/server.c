/* A model's endpoint that costs next to nothing: HTTP/1.1 with keep-alive, one thread, epoll.
 *
 * usage: server DELAY_MS [TAIL_SHARE TAIL_MS [REPLY_BYTES]]
 * Prints its port, answers every POST with the same chat completion after DELAY_MS (a share of them after TAIL_MS), whose
 * text is repeated until it has REPLY_BYTES,
 * GET /models with a list of one and GET /stats with what it has done and what CPU it took. Ends when stdin closes. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MOST 16384 /* connections */
#define QUEUE 65536 /* answers that wait, a power of two */

static const char *MODELS = "{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"object\":\"model\"}]}";
static const char *BODY =
    "{\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion\",\"created\":1770000000,\"model\":\"m\","
    "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"The answer is written here in a few "
    "plain sentences, as a model would write it. It has about as many words as a short answer has, so that reading, "
    "keeping and writing it costs what it costs in earnest. It ends here, and says nothing of use.\"},"
    "\"logprobs\":null,\"finish_reason\":\"stop\"}],"
    "\"usage\":{\"prompt_tokens\":25,\"completion_tokens\":52,\"total_tokens\":77}}";

static const char *OBJECT = /* what is answered below /json: the text is an object, for those who take no other */
    "{\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion\",\"created\":1770000000,\"model\":\"m\","
    "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"{\\\"generation\\\": \\\"The answer is written "
    "here in a few plain sentences, as a model would write it. It has about as many words as a short answer has, so that "
    "reading, keeping and writing it costs what it costs in earnest. It ends here, and says nothing of use.\\\"}\"},"
    "\"logprobs\":null,\"finish_reason\":\"stop\"}],"
    "\"usage\":{\"prompt_tokens\":25,\"completion_tokens\":52,\"total_tokens\":77}}";

typedef struct { char *data; int used, size, generation, open, wants_object; } Connection;
typedef struct { int fd, generation; double due; } Waiting;
typedef struct { Waiting items[QUEUE]; unsigned head, tail; } Queue; /* one delay each, so first in is first due */

static Connection connections[MOST];
static Queue usual, slow;
static char *answers[2];
static int answer_sizes[2], poller;
static long requests, accepted, open_now, in_flight, most_in_flight, tail_every, bad;
static double delay, tail_delay;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void drop(int fd) {
    Connection *c = &connections[fd];
    c->open = 0;
    c->generation++;
    c->used = 0;
    open_now--;
    close(fd);
}

static void send_all(int fd, const char *data, int size) {
    while (size > 0) {
        int sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (sent <= 0) return;
        data += sent;
        size -= sent;
    }
}

static void send_json(int fd, const char *json) {
    char made[2048];
    int size = snprintf(made, sizeof made,
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s",
                        strlen(json), json);
    send_all(fd, made, size);
}

static void send_stats(int fd) {
    struct rusage used;
    char made[512];
    getrusage(RUSAGE_SELF, &used);
    double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    snprintf(made, sizeof made,
             "{\"cpu\":%.6f,\"requests\":%ld,\"connections\":%ld,\"most_in_flight\":%ld,\"bad\":%ld}", cpu, requests,
             accepted, most_in_flight, bad);
    most_in_flight = in_flight;
    send_json(fd, made);
}

static void reply(int fd) {
    in_flight--;
    int which = connections[fd].wants_object;
    send_all(fd, answers[which], answer_sizes[which]);
}

static void put(Queue *queue, int fd, double due) {
    if (queue->tail - queue->head >= QUEUE) { bad++; reply(fd); return; }
    queue->items[queue->tail++ % QUEUE] = (Waiting){fd, connections[fd].generation, due};
}

static void chat(int fd) {
    requests++;
    if (++in_flight > most_in_flight) most_in_flight = in_flight;
    if (tail_every && requests % tail_every == 0) put(&slow, fd, now() + tail_delay);
    else if (delay > 0) put(&usual, fd, now() + delay);
    else reply(fd);
}

static int release(Queue *queue, double *next) {
    while (queue->head != queue->tail) {
        Waiting *first = &queue->items[queue->head % QUEUE];
        double left = first->due - now();
        if (left > 0) {
            if (left < *next) *next = left;
            return 1;
        }
        queue->head++;
        if (connections[first->fd].open && connections[first->fd].generation == first->generation) reply(first->fd);
        else in_flight--;
    }
    return 0;
}

static void serve(int fd) {
    Connection *c = &connections[fd];
    for (;;) {
        if (c->size - c->used < 4096) {
            c->size = c->size ? c->size * 2 : 8192;
            c->data = realloc(c->data, c->size);
        }
        int got = recv(fd, c->data + c->used, c->size - c->used - 1, 0);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) { drop(fd); return; }
        c->used += got;
        c->data[c->used] = 0;
        for (;;) {
            char *end = memmem(c->data, c->used, "\r\n\r\n", 4);
            if (!end) break;
            int length = 0;
            char *header = strcasestr(c->data, "\r\ncontent-length:");
            if (header && header < end) length = atoi(header + 17);
            int whole = (int)(end - c->data) + 4 + length;
            if (c->used < whole) break;
            c->wants_object = !strncmp(c->data, "POST /v1/json/", 14);
            if (!strncmp(c->data, "POST", 4)) chat(fd);
            else if (strstr(c->data, "/stats ") && strstr(c->data, "/stats ") < end) send_stats(fd);
            else send_json(fd, MODELS);
            memmove(c->data, c->data + whole, c->used - whole);
            c->used -= whole;
            c->data[c->used] = 0;
        }
        if (c->used == 0) return; /* all was read; there is more only after another wake-up */
    }
}

static const char *lengthened(const char *body, int bytes) {
    const char *text = strstr(body, "The answer is"), *end = strstr(text, "of use.") + 7;
    int before = text - body, size = end - text, copies = bytes / (size + 1);
    if (copies < 2) return body;
    char *made = malloc(strlen(body) + (size + 1) * copies), *at = made;
    at = mempcpy(at, body, before);
    for (int copy = 1; copy < copies; copy++) {
        at = mempcpy(at, text, size);
        *at++ = ' ';
    }
    strcpy(at, text);
    return made;
}

int main(int count, char **words) {
    delay = count > 1 ? atof(words[1]) / 1000 : 0;
    if (count > 3 && atof(words[2]) > 0) {
        tail_every = (long)(1 / atof(words[2]) + 0.5);
        tail_delay = atof(words[3]) / 1000;
    }
    for (int which = 0; which < 2; which++) {
        const char *body = lengthened(which ? OBJECT : BODY, count > 4 ? atoi(words[4]) : 0);
        answer_sizes[which] = asprintf(&answers[which],
                                       "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n"
                                       "\r\n%s",
                                       strlen(body), body);
    }
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)) { perror("server"); return 1; }
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[512];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    event = (struct epoll_event){.events = EPOLLIN, .data.fd = 0};
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &event);
    int alarm = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK); /* epoll's own time-outs are up to a millisecond late */
    event = (struct epoll_event){.events = EPOLLIN | EPOLLET, .data.fd = alarm};
    epoll_ctl(poller, EPOLL_CTL_ADD, alarm, &event);
    for (;;) {
        double next = 3600;
        if (release(&usual, &next) | release(&slow, &next)) {
            long nanoseconds = next * 1e9 + 1;
            struct itimerspec at = {.it_value = {nanoseconds / 1000000000, nanoseconds % 1000000000}};
            timerfd_settime(alarm, 0, &at, NULL);
        }
        int ready = epoll_wait(poller, events, 512, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == 0) return 0; /* whoever started this has gone */
            if (fd == alarm) continue;
            if (fd != listener) {
                serve(fd);
                continue;
            }
            int made;
            while ((made = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                if (made >= MOST) { close(made); continue; }
                setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                connections[made].open = 1;
                connections[made].used = 0;
                accepted++;
                open_now++;
                event = (struct epoll_event){.events = EPOLLIN, .data.fd = made};
                epoll_ctl(poller, EPOLL_CTL_ADD, made, &event);
            }
        }
    }
}
