/* h2_client: bytes of a server, in pieces, to a client that has three requests open. */
#include "h2_session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void open_request(struct codec *c, const char *method, bool end)
{
    struct http_request r;
    struct fuzz_user *u = fuzz_user_new();
    u->arena = arena_new(512);
    u->stream = codec_open_stream(c, u->arena, &fuzz_stream_handler, u);
    if (!u->stream) {
        u->ended = true;
        return;
    }
    http_request_init(&r, u->arena);
    r.method = str_of(method);
    r.authority = STR("a");
    r.path = STR("/");
    stream_send_request(u->stream, &r, end);
    if (!end)
        stream_send_data(u->stream, "upload", 6, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct codec_options options = {
        .max_header_bytes = 4096, .stream_window_bytes = 65535, .connection_window_bytes = 65535};
    struct loop *loop;
    struct conn *conn;
    if (n < 4)
        return 0;
    int fd = fuzz_begin(&loop, &conn, data);
    struct codec *c = h2_client_new(conn, &options, &fuzz_codec_handler, NULL);
    open_request(c, "GET", true);
    open_request(c, "HEAD", true);
    open_request(c, "POST", false);
    loop_run_ready(loop);
    fuzz_drain_socket(fd);
    fuzz_run(loop, c, fd, data + 4, n - 4, 1 + (size_t)data[3] * 4, false);
    fuzz_end(&loop, fd);
    return 0;
}
