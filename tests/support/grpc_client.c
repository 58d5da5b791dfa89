/* A gRPC client for tests: test-grpc-client ADDR PATH DEADLINE_MS CANCEL_MS [MESSAGE...]
 *
 * "@N" is a message of N bytes; "-" in place of the messages keeps the call open and sends nothing. Prints a line a message
 * ("message BYTES START") and "done STATUS TEXT". */
#include "sidecar/base/die.h"
#include "sidecar/grpc/grpc.h"
#include "sidecar/net/dial.h"
#include "sidecar/net/timer.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct loop *loop;
static struct grpc_call *call;
static struct codec *codec;
static struct timer cancel_timer;
static int argument_count;
static char **arguments;

static void on_message(struct grpc_call *c, void *ctx, struct str message)
{
    (void)c;
    (void)ctx;
    printf("message %zu %.*s\n", message.n, (int)(message.n < 40 ? message.n : 40), message.p);
}

static void on_done(struct grpc_call *c, void *ctx, enum grpc_status status, struct str message)
{
    (void)c;
    (void)ctx;
    call = NULL;
    printf("done %s %.*s\n", grpc_status_name(status), STR_FMT(message));
    loop_stop(loop);
}

static void on_codec_end(struct codec *c, void *ctx, enum conn_end end, const char *details)
{
    (void)c;
    (void)ctx;
    codec = NULL;
    printf("connection %s %s\n", conn_end_name(end), details);
    loop_stop(loop);
}

static void send_all(void)
{
    for (int i = 5; call && i < argument_count; i++) {
        uint64_t n = 0;
        if (strcmp(arguments[i], "-") == 0)
            return;
        if (arguments[i][0] == '@' && str_to_u64(str_of(arguments[i] + 1), &n)) {
            char *big = xcalloc(1, n + 1);
            memset(big, 'x', n);
            grpc_send(call, big, n);
            free(big);
        } else {
            grpc_send(call, arguments[i], strlen(arguments[i]));
        }
    }
    if (call)
        grpc_half_close(call);
}

static void on_cancel(struct timer *t)
{
    (void)t;
    if (call)
        grpc_cancel(call);
}

int main(int argc, char **argv)
{
    static const struct grpc_call_handler handler = {.on_message = on_message, .on_done = on_done};
    static const struct codec_handler codec_handler = {.on_codec_end = on_codec_end};
    struct addr at;
    if (argc < 5 || !addr_parse(str_of(argv[1]), &at))
        die("usage: test-grpc-client ADDR PATH DEADLINE_MS CANCEL_MS [MESSAGE...]");
    argument_count = argc;
    arguments = argv;
    signal(SIGPIPE, SIG_IGN);
    loop = loop_new();
    struct conn *c = dial(loop, &at, &(struct dial_options){0});
    codec = h2_client_new(c, NULL, &codec_handler, NULL);
    call = grpc_call_open(codec, argv[1], argv[2], NULL, strtoul(argv[3], NULL, 10), NULL, &handler, NULL);
    timer_init(&cancel_timer, loop, on_cancel);
    if (strcmp(argv[4], "0") != 0)
        timer_arm(&cancel_timer, strtoul(argv[4], NULL, 10));
    send_all();
    loop_run(loop);
    if (codec) {
        codec_set_handler(codec, NULL, NULL);
        codec_close(codec);
    }
    timer_disarm(&cancel_timer);
    loop_free(&loop);
    return 0;
}
