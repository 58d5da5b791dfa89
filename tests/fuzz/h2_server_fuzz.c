/* h2_server: bytes of a client, in pieces; three bytes choose what the user does with each stream, one the pieces. */
#include "h2_session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct codec_options options = {
        .max_header_bytes = 4096, .stream_window_bytes = 65535, .connection_window_bytes = 65535};
    struct loop *loop;
    struct conn *conn;
    if (n < 4)
        return 0;
    int fd = fuzz_begin(&loop, &conn, data);
    struct codec_options o = options;
    o.allow_upgrade = o.offer_extended_connect = data[3] & 128;
    o.allow_connect = data[3] & 64;
    struct codec *c = h2_server_new(conn, &o, &fuzz_codec_handler, NULL);
    fuzz_run(loop, c, fd, data + 4, n - 4, 1 + (size_t)(data[3] & 63) * 16, true);
    fuzz_end(&loop, fd);
    return 0;
}
