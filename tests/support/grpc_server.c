/* A gRPC server for tests of sidecar/grpc against other implementations. Messages are bytes. Methods of /t.T/:
 *
 *   Echo    unary: the same message back
 *   Repeat  "N SIZE": a stream of N messages of SIZE bytes
 *   Count   takes a stream, answers with its number of messages and bytes
 *   Chat    answers every message with itself, at once
 *   Fail    "CODE text": ends with that status
 *   Hang    never answers
 *   Ended   how the last Hang ended
 *
 * Prints its port; ends with its standard input. */
#include "sidecar/base/buf.h"
#include "sidecar/base/die.h"
#include "sidecar/grpc/grpc.h"
#include "stdin_end.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct work {
    struct buf message;
    unsigned count;
    size_t bytes;
    uint64_t left, size;
};

static char last_hang[128] = "none";

static void free_work(struct grpc_call *call, void *ctx, enum grpc_status status, struct str message)
{
    struct work *w = ctx;
    (void)call;
    (void)status;
    (void)message;
    buf_fini(&w->message);
    free(w);
}

static void start(struct grpc_call *call, const struct grpc_call_handler *handler)
{
    grpc_call_set_handler(call, handler, NEW(struct work));
}

static void keep(struct grpc_call *call, void *ctx, struct str message)
{
    struct work *w = ctx;
    (void)call;
    w->count++;
    w->bytes += message.n;
    buf_clear(&w->message);
    buf_append(&w->message, message.p, message.n);
}

static void echo_end(struct grpc_call *call, void *ctx)
{
    struct work *w = ctx;
    grpc_send(call, buf_head(&w->message), buf_len(&w->message));
    grpc_finish(call, GRPC_OK, STR_NONE);
}

static void on_echo(void *ctx, struct grpc_call *call, const struct http_request *head)
{
    static const struct grpc_call_handler h = {.on_message = keep, .on_half_close = echo_end, .on_done = free_work};
    (void)ctx;
    (void)head;
    start(call, &h);
}

static void repeat(struct grpc_call *call, void *ctx)
{
    struct work *w = ctx;
    char *zeros = xcalloc(1, w->size + 1);
    while (w->left > 0 && !grpc_is_above_high(call)) {
        w->left--;
        grpc_send(call, zeros, w->size);
    }
    free(zeros);
    if (w->left == 0)
        grpc_finish(call, GRPC_OK, STR_NONE);
}

static void repeat_end(struct grpc_call *call, void *ctx)
{
    struct work *w = ctx;
    struct str rest = buf_str(&w->message), n = STR_NONE;
    if (!str_next(&rest, ' ', &n) || !str_to_u64(n, &w->left) || !str_to_u64(rest, &w->size))
        grpc_finish(call, GRPC_INVALID_ARGUMENT, STR("want \"N SIZE\""));
    else
        repeat(call, w);
}

static void on_repeat(void *ctx, struct grpc_call *call, const struct http_request *head)
{
    static const struct grpc_call_handler h = {
        .on_message = keep, .on_half_close = repeat_end, .on_below_low = repeat, .on_done = free_work};
    (void)ctx;
    (void)head;
    start(call, &h);
}

static void count_end(struct grpc_call *call, void *ctx)
{
    struct work *w = ctx;
    char text[64];
    int n = snprintf(text, sizeof(text), "%u %zu", w->count, w->bytes);
    grpc_send(call, text, (size_t)n);
    grpc_finish(call, GRPC_OK, STR_NONE);
}

static void on_count(void *ctx, struct grpc_call *call, const struct http_request *head)
{
    static const struct grpc_call_handler h = {.on_message = keep, .on_half_close = count_end, .on_done = free_work};
    (void)ctx;
    (void)head;
    start(call, &h);
}

static void chat_message(struct grpc_call *call, void *ctx, struct str message)
{
    (void)ctx;
    grpc_send(call, message.p, message.n);
}

static void chat_end(struct grpc_call *call, void *ctx)
{
    (void)ctx;
    grpc_finish(call, GRPC_OK, STR_NONE);
}

static void on_chat(void *ctx, struct grpc_call *call, const struct http_request *head)
{
    static const struct grpc_call_handler h = {
        .on_message = chat_message, .on_half_close = chat_end, .on_done = free_work};
    (void)ctx;
    (void)head;
    start(call, &h);
}

static void fail_message(struct grpc_call *call, void *ctx, struct str message)
{
    struct str code;
    uint64_t status = GRPC_UNKNOWN;
    (void)ctx;
    if (str_next(&message, ' ', &code) && str_to_u64(code, &status) && status < GRPC_STATUS_COUNT)
        grpc_finish(call, (enum grpc_status)status, message);
    else
        grpc_finish(call, GRPC_INVALID_ARGUMENT, STR("want \"CODE text\""));
}

static void on_fail(void *ctx, struct grpc_call *call, const struct http_request *head)
{
    static const struct grpc_call_handler h = {.on_message = fail_message, .on_done = free_work};
    (void)ctx;
    (void)head;
    start(call, &h);
}

static void hang_done(struct grpc_call *call, void *ctx, enum grpc_status status, struct str message)
{
    snprintf(last_hang, sizeof(last_hang), "%s", grpc_status_name(status));
    free_work(call, ctx, status, message);
}

static void on_hang(void *ctx, struct grpc_call *call, const struct http_request *head)
{
    static const struct grpc_call_handler h = {.on_done = hang_done};
    (void)ctx;
    (void)head;
    start(call, &h);
}

static void ended_end(struct grpc_call *call, void *ctx)
{
    (void)ctx;
    grpc_send(call, last_hang, strlen(last_hang));
    grpc_finish(call, GRPC_OK, STR_NONE);
}

static void on_ended(void *ctx, struct grpc_call *call, const struct http_request *head)
{
    static const struct grpc_call_handler h = {.on_half_close = ended_end, .on_done = free_work};
    (void)ctx;
    (void)head;
    start(call, &h);
}

static const struct grpc_method methods[] = {
    {"/t.T/Echo", on_echo}, {"/t.T/Repeat", on_repeat}, {"/t.T/Count", on_count}, {"/t.T/Chat", on_chat},
    {"/t.T/Fail", on_fail}, {"/t.T/Hang", on_hang},     {"/t.T/Ended", on_ended},
};

int main(void)
{
    struct addr at;
    signal(SIGPIPE, SIG_IGN);
    addr_parse(STR("127.0.0.1:0"), &at);
    struct loop *loop = loop_new();
    struct grpc_server *s = grpc_server_new(loop, NULL, methods, ARRAY_LEN(methods), NULL);
    int rc = grpc_server_listen(s, &at);
    if (rc != 0)
        die("cannot listen: %s", strerror(-rc));
    printf("%u\n", grpc_server_port(s));
    fflush(stdout);
    stdin_end_stops(loop);
    loop_run(loop);
    grpc_server_free(&s);
    loop_free(&loop);
    return 0;
}
