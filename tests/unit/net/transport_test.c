/* A transport that encrypts by xor and begins with one byte of greeting each way: enough to prove
 * the table that a secure transport fills. */
#include "pair.h"

#include <stdlib.h>
#include <string.h>

#define HELLO 0x07
#define GOODBYE 0x04
#define KEY 0x5a

struct xor_tx {
    bool is_ready, is_client;
    unsigned records; /* how many times write was called */
    unsigned *frees;
};

static struct pair pair;
static unsigned frees;
static struct xor_tx *client_tx, *server_tx;
static struct side plain;  /* a peer without a transport */
static bool silent_server; /* never answers the greeting ... */
static bool was_greeted;   /* ... that it has heard */

static void xor_start(struct conn *c, void *arg)
{
    static const uint8_t hello = HELLO;
    struct xor_tx *tx = arg;
    if (tx->is_client)
        conn_transport_send(c, &hello, 1);
}

static void greet(struct conn *c, struct xor_tx *tx, uint8_t byte)
{
    static const uint8_t hello = HELLO;
    if (byte != HELLO) {
        static const char alert[] = "!";
        conn_transport_send(c, alert, 1);
        conn_transport_fail(c, "bad greeting");
        return;
    }
    if (!tx->is_client && silent_server) {
        was_greeted = true;
        return;
    }
    if (!tx->is_client)
        conn_transport_send(c, &hello, 1);
    tx->is_ready = true;
    conn_transport_ready(c);
}

static void xor_on_raw(struct conn *c, void *arg, uint8_t *data, size_t n)
{
    struct xor_tx *tx = arg;
    size_t at = 0;
    if (!tx->is_ready)
        greet(c, tx, data[at++]);
    for (size_t i = at; i < n; i++)
        data[i] ^= KEY;
    bool goodbye = n > at && data[n - 1] == GOODBYE;
    if (n > at + goodbye)
        conn_transport_deliver(c, data + at, n - at - goodbye);
    if (goodbye)
        conn_transport_eof(c);
}

static void send_xored(struct conn *c, const uint8_t *p, size_t n)
{
    uint8_t record[4096];
    while (n > 0) {
        size_t part = n < sizeof(record) ? n : sizeof(record);
        for (size_t i = 0; i < part; i++)
            record[i] = p[i] ^ KEY;
        conn_transport_send(c, record, part);
        p += part;
        n -= part;
    }
}

static void xor_write(struct conn *c, void *arg, const struct iovec *iov, unsigned count)
{
    struct xor_tx *tx = arg;
    assert_true(tx->is_ready);
    tx->records++;
    for (unsigned i = 0; i < count; i++)
        send_xored(c, iov[i].iov_base, iov[i].iov_len);
}

static void xor_shutdown(struct conn *c, void *arg)
{
    static const uint8_t goodbye = GOODBYE;
    (void)arg;
    send_xored(c, &goodbye, 1);
}

static struct str xor_alpn(void *arg)
{
    (void)arg;
    return STR("xor");
}

static void xor_free(void *arg)
{
    struct xor_tx *tx = arg;
    ++*tx->frees;
    free(tx);
}

static const struct transport xor
    = {
        xor_start, xor_on_raw, xor_write, xor_shutdown, xor_alpn, xor_free,
};

static struct xor_tx *xor_new(bool is_client)
{
    struct xor_tx *tx = NEW(struct xor_tx);
    tx->is_client = is_client;
    tx->frees = &frees;
    return tx;
}

static void on_accept(void *ctx, int fd, const struct addr *peer)
{
    (void)ctx;
    (void)peer;
    assert_int_equal(conn_adopt(pair.loop, fd, NULL, &pair.server.conn), 0);
    server_tx = xor_new(false);
    conn_set_transport(pair.server.conn, &xor, server_tx);
    conn_set_handler(pair.server.conn, &side_handler, &pair.server);
}

static int set_up(void **state)
{
    (void)state;
    frees = 0;
    silent_server = was_greeted = false;
    server_tx = NULL;
    pair_init(&pair, "127.0.0.1:0");
    listen_stop(&pair.ls);
    pair.ls = listen_start(pair.loop, pair.listen_fd, on_accept, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    pair_fini(&pair);
    assert_int_equal(frees, 2);
    return 0;
}

static void dial_xor(const struct dial_options *o)
{
    pair.client.conn = dial(pair.loop, &pair.at, o);
    client_tx = xor_new(true);
    conn_set_transport(pair.client.conn, &xor, client_tx);
    conn_set_handler(pair.client.conn, &side_handler, &pair.client);
}

static void both_sides_become_ready_after_the_handshake(void **state)
{
    (void)state;
    dial_xor(NULL);
    PAIR_UNTIL(&pair, pair.client.ready_calls);
    assert_int_equal(pair.client.ready_calls, 1);
    assert_int_equal(pair.server.ready_calls, 1);
    assert_true(str_eq(conn_alpn(pair.client.conn), STR("xor")));
}

static void writes_wait_for_the_handshake_and_share_a_record(void **state)
{
    (void)state;
    dial_xor(NULL);
    conn_write(pair.client.conn, "one ", 4);
    conn_write(pair.client.conn, "two", 3);
    PAIR_UNTIL(&pair, pair.server.data_calls);
    assert_true(str_eq_c(buf_str(&pair.server.got), "one two"));
    assert_int_equal(client_tx->records, 1);
    assert_int_equal(conn_bytes_read(pair.server.conn), 7);
}

static void bodies_larger_than_the_kernel_takes_arrive_whole(void **state)
{
    const size_t n = 9 * 1024 * 1024;
    uint8_t *bytes = xmalloc(n);
    (void)state;
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(i * 7 + (i >> 10)) | 0x10; /* never GOODBYE */
    dial_xor(NULL);
    PAIR_UNTIL(&pair, pair.server.ready_calls);
    for (size_t at = 0; at < n; at += n / 16)
        conn_write(pair.server.conn, bytes + at, n / 16);
    PAIR_UNTIL(&pair, buf_len(&pair.client.got) >= n);
    assert_int_equal(buf_len(&pair.client.got), n);
    assert_memory_equal(buf_head(&pair.client.got), bytes, n);
    free(bytes);
}

static void its_own_end_comes_before_the_sockets(void **state)
{
    (void)state;
    dial_xor(NULL);
    PAIR_UNTIL(&pair, pair.client.ready_calls);
    conn_write(pair.client.conn, "last", 4);
    conn_shutdown(pair.client.conn);
    PAIR_UNTIL(&pair, pair.server.eof_calls);
    pair_run_ms(&pair, 2);
    assert_true(str_eq_c(buf_str(&pair.server.got), "last"));
    assert_int_equal(pair.server.eof_calls, 1);
    conn_write(pair.server.conn, "reply", 5);
    conn_shutdown(pair.server.conn);
    PAIR_UNTIL(&pair, pair.client.end_calls);
    assert_true(str_eq_c(buf_str(&pair.client.got), "reply"));
    assert_int_equal(pair.client.end, CONN_END_EOF);
}

static void a_refused_handshake_says_why_after_its_alert(void **state)
{
    (void)state;
    plain = (struct side){0};
    ++frees; /* the plain client has none */
    plain.conn = dial(pair.loop, &pair.at, NULL);
    conn_set_handler(plain.conn, &side_handler, &plain);
    conn_write(plain.conn, "GET", 3);
    PAIR_UNTIL(&pair, pair.server.end_calls && plain.data_calls);
    assert_int_equal(pair.server.end, CONN_END_TRANSPORT);
    assert_string_equal(pair.server.failure, "bad greeting");
    assert_int_equal(pair.server.ready_calls, 0);
    assert_true(str_eq_c(buf_str(&plain.got), "!"));
    buf_fini(&plain.got);
}

static void a_peer_that_leaves_in_the_handshake_is_a_transport_failure(void **state)
{
    (void)state;
    silent_server = true;
    dial_xor(NULL);
    PAIR_UNTIL(&pair, was_greeted); /* with bytes unread, a close would be a reset */
    conn_close(pair.server.conn);
    PAIR_UNTIL(&pair, pair.client.end_calls);
    assert_int_equal(pair.client.end, CONN_END_TRANSPORT);
}

static void the_connect_timeout_covers_the_handshake(void **state)
{
    (void)state;
    silent_server = true;
    dial_xor(&(struct dial_options){.connect_timeout_ms = 20});
    PAIR_UNTIL(&pair, pair.client.end_calls && server_tx); /* a busy machine may accept late */
    assert_int_equal(pair.client.end, CONN_END_CONNECT_TIMEOUT);
    assert_int_equal(pair.client.ready_calls, 0);
}

static void bytes_looked_at_before_are_fed_to_it(void **state)
{
    (void)state;
    plain = (struct side){0};
    ++frees;
    listen_stop(&pair.ls);
    pair.ls = NULL;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(conn_adopt(pair.loop, fds[0], NULL, &pair.server.conn), 0);
    assert_int_equal(conn_adopt(pair.loop, fds[1], NULL, &plain.conn), 0);
    conn_set_handler(plain.conn, &side_handler, &plain);
    uint8_t sniffed[] = {HELLO, 'h' ^ KEY, 'i' ^ KEY};
    conn_set_transport(pair.server.conn, &xor, xor_new(false));
    conn_set_handler(pair.server.conn, &side_handler, &pair.server);
    conn_feed(pair.server.conn, sniffed, sizeof(sniffed));
    assert_int_equal(pair.server.ready_calls, 1);
    assert_true(str_eq_c(buf_str(&pair.server.got), "hi"));
    PAIR_UNTIL(&pair, plain.data_calls);
    assert_int_equal(buf_head(&plain.got)[0], HELLO);
    buf_fini(&plain.got);
}

int main(void)
{
#define PAIR_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        PAIR_TEST(both_sides_become_ready_after_the_handshake),
        PAIR_TEST(writes_wait_for_the_handshake_and_share_a_record),
        PAIR_TEST(bodies_larger_than_the_kernel_takes_arrive_whole),
        PAIR_TEST(its_own_end_comes_before_the_sockets),
        PAIR_TEST(a_refused_handshake_says_why_after_its_alert),
        PAIR_TEST(a_peer_that_leaves_in_the_handshake_is_a_transport_failure),
        PAIR_TEST(the_connect_timeout_covers_the_handshake),
        PAIR_TEST(bytes_looked_at_before_are_fed_to_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
