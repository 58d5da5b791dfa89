/* Bytes that go from one connection to another within the kernel: source -> near, a relay, far -> sink. */
#include "pair.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static struct pair pair;

static struct relay {
    struct side source, near, far, sink;
    size_t written, spliced; /* from near to far: by on_data, by the kernel */
} relay;

static void on_near_data(struct conn *c, void *ctx, uint8_t *data, size_t n)
{
    (void)c;
    (void)ctx;
    relay.written += n;
    if (relay.far.conn)
        conn_write(relay.far.conn, data, n);
}

static void on_near_spliced(struct conn *c, void *ctx, size_t n)
{
    assert_ptr_equal(c, relay.near.conn);
    assert_ptr_equal(ctx, &relay.near);
    relay.spliced += n;
}

static void on_near_eof(struct conn *c, void *ctx)
{
    (void)c;
    (void)ctx;
    conn_shutdown(relay.far.conn);
}

static void on_far_above_high(struct conn *c, void *ctx)
{
    (void)c;
    (void)ctx;
    relay.far.high_calls++;
    conn_read_pause(relay.near.conn);
}

static void on_far_below_low(struct conn *c, void *ctx)
{
    (void)c;
    (void)ctx;
    relay.far.low_calls++;
    conn_read_resume(relay.near.conn);
}

static void on_far_end(struct conn *c, void *ctx, enum conn_end end, int error)
{
    if (relay.near.conn)
        conn_splice_to(relay.near.conn, NULL);
    side_handler.on_end(c, ctx, end, error);
}

/* Two connections; the relay has the accepted end of the first and the dialled one of the second. */
static int set_up(void **state)
{
    static struct conn_handler near, far;
    (void)state;
    near = far = side_handler;
    near.on_data = on_near_data;
    near.on_spliced = on_near_spliced;
    near.on_eof = on_near_eof;
    far.on_above_high = on_far_above_high;
    far.on_below_low = on_far_below_low;
    far.on_end = on_far_end;
    relay = (struct relay){.written = 0};
    pair_init(&pair, "127.0.0.1:0");
    pair_connect(&pair, NULL);
    relay.source.conn = pair.client.conn;
    relay.near.conn = pair.server.conn;
    pair.client = pair.server = (struct side){.conn = NULL};
    pair_connect(&pair, &(struct dial_options){.conn.high_watermark_bytes = 65536});
    relay.far.conn = pair.client.conn;
    relay.sink.conn = pair.server.conn;
    conn_set_handler(relay.source.conn, &side_handler, &relay.source);
    conn_set_handler(relay.near.conn, &near, &relay.near);
    conn_set_handler(relay.far.conn, &far, &relay.far);
    conn_set_handler(relay.sink.conn, &side_handler, &relay.sink);
    conn_splice_to(relay.near.conn, relay.far.conn);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    pair_fini(&pair);
    buf_fini(&relay.source.got);
    buf_fini(&relay.sink.got);
    return 0;
}

static void send_pattern(size_t n)
{
    uint8_t *p = xmalloc(n);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 31 + (i >> 8));
    conn_write(relay.source.conn, p, n);
    conn_shutdown(relay.source.conn);
    free(p);
}

/* All of the pattern came, then the end. */
static void assert_sunk(size_t n)
{
    PAIR_UNTIL(&pair, relay.sink.eof_calls);
    assert_int_equal(relay.sink.eof_calls, 1);
    assert_int_equal(buf_len(&relay.sink.got), n);
    for (size_t i = 0; i < n; i++)
        if (buf_head(&relay.sink.got)[i] != (uint8_t)(i * 31 + (i >> 8)))
            fail_msg("byte %zu of %zu differs", i, n);
    assert_int_equal(relay.written + relay.spliced, n);
    assert_int_equal(conn_bytes_read(relay.near.conn), n);
    assert_int_equal(conn_bytes_written(relay.far.conn), n);
}

static void much_is_spliced_and_its_end_follows_it(void **state)
{
    const size_t n = 24 * 1024 * 1024 + 12345;
    (void)state;
    send_pattern(n);
    assert_sunk(n);
    assert_true(relay.spliced > n / 2);
}

static void little_is_copied(void **state)
{
    (void)state;
    send_pattern(20000);
    assert_sunk(20000);
    assert_int_equal(relay.spliced, 0);
}

static void a_slow_sink_holds_the_source_back_and_gets_all_in_order(void **state)
{
    const size_t n = 24 * 1024 * 1024;
    (void)state;
    conn_read_pause(relay.sink.conn);
    send_pattern(n);
    PAIR_UNTIL(&pair, relay.far.high_calls);
    pair_run_ms(&pair, 100); /* the kernel takes what it takes */
    assert_int_equal(relay.far.high_calls, 1);
    assert_int_equal(relay.far.low_calls, 0);
    size_t held = relay.written + relay.spliced;
    assert_true(relay.spliced > 0 && held < n);
    /* One splice's worth beyond the watermark at most. */
    assert_in_range(conn_write_pending(relay.far.conn), 65537, 65536 + 256 * 1024);
    pair_run_ms(&pair, 20);
    assert_int_equal(relay.written + relay.spliced, held);
    conn_read_resume(relay.sink.conn);
    assert_sunk(n);
    assert_int_equal(relay.far.high_calls, relay.far.low_calls);
}

static void a_sink_that_resets_ends_the_far_side_alone(void **state)
{
    (void)state;
    send_pattern(24 * 1024 * 1024);
    PAIR_UNTIL(&pair, relay.spliced > 0);
    conn_abort(relay.sink.conn);
    PAIR_UNTIL(&pair, !relay.far.conn);
    assert_int_equal(relay.far.end, CONN_END_RESET);
    assert_non_null(relay.near.conn);
}

static void what_was_begun_with_can_be_ended(void **state)
{
    (void)state;
    conn_splice_to(relay.near.conn, NULL);
    send_pattern(4 * 1024 * 1024);
    assert_sunk(4 * 1024 * 1024);
    assert_int_equal(relay.spliced, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(much_is_spliced_and_its_end_follows_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(little_is_copied, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_slow_sink_holds_the_source_back_and_gets_all_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_sink_that_resets_ends_the_far_side_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_begun_with_can_be_ended, set_up, tear_down),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
