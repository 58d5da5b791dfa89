#include "pair.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct pair pair;

static int set_up(void **state)
{
    (void)state;
    pair_init(&pair, "127.0.0.1:0");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    pair_fini(&pair);
    return 0;
}

/* For what shall not happen. */
static void run_a_moment(void)
{
    pair_run_ms(&pair, 3);
}

static void until_got(struct side *s, const char *text)
{
    PAIR_UNTIL(&pair, buf_len(&s->got) >= strlen(text));
    assert_true(str_eq_c(buf_str(&s->got), text));
}

static void bytes_go_both_ways(void **state)
{
    (void)state;
    pair_connect(&pair, NULL);
    conn_write(pair.client.conn, "ping", 4);
    until_got(&pair.server, "ping");
    conn_write(pair.server.conn, "pong!", 5);
    until_got(&pair.client, "pong!");
    assert_int_equal(conn_bytes_read(pair.client.conn), 5);
    assert_int_equal(conn_bytes_written(pair.client.conn), 4);
    assert_true(addr_eq(conn_peer_addr(pair.client.conn), conn_local_addr(pair.server.conn)));
    assert_true(addr_eq(conn_local_addr(pair.client.conn), conn_peer_addr(pair.server.conn)));
    assert_int_not_equal(conn_id(pair.client.conn), conn_id(pair.server.conn));
}

static void writes_of_one_event_leave_in_one_piece(void **state)
{
    struct iovec parts[3] = {{(void *)"b", 1}, {NULL, 0}, {(void *)"cd", 2}};
    (void)state;
    pair_connect(&pair, NULL);
    conn_write(pair.client.conn, "a", 1);
    conn_writev(pair.client.conn, parts, 3);
    conn_write(pair.client.conn, "e", 1);
    assert_int_equal(conn_write_pending(pair.client.conn), 5);
    until_got(&pair.server, "abcde");
    assert_int_equal(pair.server.data_calls, 1);
    assert_int_equal(conn_write_pending(pair.client.conn), 0);
}

static void flush_sends_without_waiting_for_the_end_of_the_event(void **state)
{
    (void)state;
    pair_connect(&pair, NULL);
    conn_write(pair.client.conn, "x", 1);
    conn_flush(pair.client.conn);
    assert_int_equal(conn_write_pending(pair.client.conn), 0);
}

static void what_is_written_before_the_connect_is_sent_after_it(void **state)
{
    (void)state;
    pair_dial(&pair, NULL);
    conn_write(pair.client.conn, "early", 5);
    assert_int_equal(pair.client.ready_calls, 0);
    until_got(&pair.server, "early");
}

static uint8_t *pattern(size_t n)
{
    uint8_t *p = xmalloc(n);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 31 + (i >> 8));
    return p;
}

static void a_slow_reader_raises_the_high_and_then_the_low_watermark(void **state)
{
    const size_t n = 24 * 1024 * 1024;
    uint8_t *bytes = pattern(n);
    (void)state;
    pair_connect(&pair, &(struct dial_options){.conn.high_watermark_bytes = 65536});
    conn_read_pause(pair.server.conn);
    conn_write(pair.client.conn, bytes, 100);
    conn_write(pair.client.conn, bytes + 100, n - 200); /* past the kernel's buffers */
    conn_write(pair.client.conn, bytes + n - 100, 100);
    PAIR_UNTIL(&pair, pair.client.high_calls);
    run_a_moment();
    assert_int_equal(pair.client.high_calls, 1);
    assert_int_equal(pair.client.low_calls, 0);
    assert_true(conn_is_above_high(pair.client.conn));
    assert_true(conn_write_pending(pair.client.conn) > 65536);
    assert_int_equal(pair.server.data_calls, 0);
    conn_read_resume(pair.server.conn);
    PAIR_UNTIL(&pair, buf_len(&pair.server.got) >= n);
    assert_int_equal(buf_len(&pair.server.got), n);
    assert_memory_equal(buf_head(&pair.server.got), bytes, n);
    assert_int_equal(pair.client.high_calls, 1);
    assert_int_equal(pair.client.low_calls, 1);
    assert_false(conn_is_above_high(pair.client.conn));
    free(bytes);
}

static void small_writes_alone_reach_the_watermark_too(void **state)
{
    char kib[1024] = {0};
    (void)state;
    pair_connect(&pair, &(struct dial_options){.conn.high_watermark_bytes = 65536});
    conn_read_pause(pair.server.conn);
    for (unsigned i = 0; i < 100000 && !pair.client.high_calls; i++)
        conn_write(pair.client.conn, kib, sizeof(kib));
    assert_int_equal(pair.client.high_calls, 1);
    assert_true(conn_write_pending(pair.client.conn) < 65536 + 4 * 16 * 1024);
}

static void read_pauses_nest(void **state)
{
    (void)state;
    pair_connect(&pair, NULL);
    conn_read_pause(pair.server.conn);
    conn_read_pause(pair.server.conn);
    conn_write(pair.client.conn, "x", 1);
    run_a_moment();
    conn_read_resume(pair.server.conn);
    run_a_moment();
    assert_int_equal(pair.server.data_calls, 0);
    conn_read_resume(pair.server.conn);
    until_got(&pair.server, "x");
}

static void half_close_lets_the_other_side_write_on(void **state)
{
    (void)state;
    pair_connect(&pair, NULL);
    conn_write(pair.client.conn, "last", 4);
    conn_shutdown(pair.client.conn);
    conn_write(pair.client.conn, "ignored", 7);
    PAIR_UNTIL(&pair, pair.server.eof_calls);
    until_got(&pair.server, "last");
    assert_int_equal(pair.server.eof_calls, 1);
    assert_true(conn_is_eof(pair.server.conn));
    assert_int_equal(pair.server.end_calls, 0);
    conn_write(pair.server.conn, "reply", 5);
    until_got(&pair.client, "reply");
    conn_shutdown(pair.server.conn);
    PAIR_UNTIL(&pair, pair.client.end_calls && pair.server.end_calls);
    assert_int_equal(pair.client.eof_calls, 1); /* told, though our side had ended before */
    assert_int_equal(pair.client.end_calls, 1);
    assert_int_equal(pair.client.end, CONN_END_EOF);
    assert_int_equal(pair.server.end_calls, 1);
    assert_int_equal(pair.server.end, CONN_END_EOF);
}

static void without_on_eof_the_peers_end_closes(void **state)
{
    (void)state;
    pair.server_handler = &side_handler_no_eof;
    pair_connect(&pair, NULL);
    conn_shutdown(pair.client.conn);
    PAIR_UNTIL(&pair, pair.server.end_calls && pair.client.end_calls);
    assert_int_equal(pair.server.end_calls, 1);
    assert_int_equal(pair.server.end, CONN_END_EOF);
    assert_int_equal(pair.client.end, CONN_END_EOF);
}

static void close_raises_the_end_later_and_once(void **state)
{
    (void)state;
    pair_connect(&pair, NULL);
    conn_write(pair.client.conn, "dropped", 7);
    conn_close(pair.client.conn);
    assert_int_equal(pair.client.end_calls, 0);
    conn_close(pair.client.conn);
    conn_abort(pair.client.conn);
    conn_write(pair.client.conn, "x", 1);
    conn_shutdown(pair.client.conn);
    conn_read_pause(pair.client.conn);
    PAIR_UNTIL(&pair, pair.client.end_calls && pair.server.eof_calls);
    run_a_moment();
    assert_int_equal(pair.client.end_calls, 1);
    assert_int_equal(pair.client.end, CONN_END_LOCAL);
    assert_int_equal(buf_len(&pair.server.got), 0);
    assert_int_equal(pair.server.eof_calls, 1);
}

static void abort_resets_the_peer(void **state)
{
    (void)state;
    pair_connect(&pair, NULL);
    conn_abort(pair.client.conn);
    PAIR_UNTIL(&pair, pair.server.end_calls);
    assert_int_equal(pair.server.end_calls, 1);
    assert_int_equal(pair.server.end, CONN_END_RESET);
    assert_int_equal(pair.server.error, ECONNRESET);
}

/* A peer without a loop, so that the test decides what has happened before the loop looks. */
static int connect_raw_peer(void)
{
    int fd = -1;
    listen_stop(&pair.ls);
    pair_dial(&pair, NULL);
    PAIR_UNTIL(&pair, pair.client.ready_calls);
    PAIR_UNTIL(&pair, (fd = accept(pair.listen_fd, NULL, NULL)) >= 0);
    return fd;
}

static void answer_and_reset(int fd)
{
    struct linger now = {1, 0};
    assert_int_equal(send(fd, "413", 3, 0), 3);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(fd);
    struct pollfd reset = {.fd = conn_fd(pair.client.conn)};
    assert_int_equal(poll(&reset, 1, 8000), 1);
}

static void a_reset_right_behind_data_is_not_taken_for_an_end_of_stream(void **state)
{
    (void)state;
    answer_and_reset(connect_raw_peer());
    PAIR_UNTIL(&pair, pair.client.end_calls);
    until_got(&pair.client, "413");
    assert_int_equal(pair.client.eof_calls, 0);
    assert_int_equal(pair.client.end, CONN_END_RESET);
    assert_int_equal(pair.client.error, ECONNRESET);
}

static void an_answer_sent_before_a_reset_is_delivered_though_writing_fails(void **state)
{
    (void)state;
    answer_and_reset(connect_raw_peer());
    conn_write(pair.client.conn, "body", 4);
    conn_flush(pair.client.conn);
    conn_write(pair.client.conn, "more", 4);
    conn_flush(pair.client.conn);
    PAIR_UNTIL(&pair, pair.client.end_calls);
    until_got(&pair.client, "413");
    assert_int_equal(pair.client.end_calls, 1);
    assert_int_equal(pair.client.end, CONN_END_RESET);
}

static void a_failed_write_ends_a_connection_that_does_not_read(void **state)
{
    (void)state;
    int fd = connect_raw_peer();
    conn_read_pause(pair.client.conn);
    answer_and_reset(fd);
    conn_write(pair.client.conn, "body", 4);
    PAIR_UNTIL(&pair, pair.client.end_calls);
    assert_int_equal(pair.client.end, CONN_END_RESET);
}

static void close_after_flush_sends_all_then_waits_for_the_peer(void **state)
{
    const size_t n = 8 * 1024 * 1024;
    uint8_t *bytes = pattern(n);
    (void)state;
    pair_connect(&pair, NULL);
    conn_write(pair.server.conn, bytes, n);
    conn_close_after_flush(pair.server.conn, 5000);
    conn_write(pair.client.conn, "dropped", 7);
    PAIR_UNTIL(&pair, pair.client.eof_calls);
    assert_int_equal(buf_len(&pair.client.got), n);
    assert_memory_equal(buf_head(&pair.client.got), bytes, n);
    assert_int_equal(pair.server.data_calls, 0);
    assert_int_equal(pair.server.end_calls, 0); /* lingering */
    conn_close(pair.client.conn);
    PAIR_UNTIL(&pair, pair.server.end_calls);
    assert_int_equal(pair.server.end, CONN_END_LOCAL);
    free(bytes);
}

static void a_peer_that_stays_is_closed_after_the_delay(void **state)
{
    (void)state;
    pair_connect(&pair, NULL);
    uint64_t begun_ms = loop_now_ms(pair.loop);
    conn_write(pair.server.conn, "bye", 3);
    conn_close_after_flush(pair.server.conn, 20);
    PAIR_UNTIL(&pair, pair.server.end_calls);
    assert_true(loop_now_ms(pair.loop) - begun_ms >= 20);
    until_got(&pair.client, "bye");
}

static void a_peer_that_never_reads_is_closed_after_the_delay(void **state)
{
    const size_t n = 24 * 1024 * 1024;
    uint8_t *bytes = pattern(n);
    (void)state;
    pair_connect(&pair, NULL);
    conn_read_pause(pair.client.conn);
    conn_write(pair.server.conn, bytes, n);
    conn_close_after_flush(pair.server.conn, 20);
    PAIR_UNTIL(&pair, pair.server.end_calls);
    free(bytes);
}

static void without_delay_it_closes_when_all_is_sent(void **state)
{
    (void)state;
    pair_connect(&pair, NULL);
    conn_write(pair.server.conn, "bye", 3);
    conn_close_after_flush(pair.server.conn, 0);
    PAIR_UNTIL(&pair, pair.server.end_calls);
    until_got(&pair.client, "bye");
}

static void the_destination_can_be_restored(void **state)
{
    struct addr a;
    (void)state;
    pair_connect(&pair, NULL);
    assert_true(addr_eq(conn_destination(pair.server.conn), &pair.at));
    addr_parse(STR("10.1.2.3:80"), &a);
    conn_set_destination(pair.server.conn, &a);
    assert_true(addr_eq(conn_destination(pair.server.conn), &a));
    assert_true(addr_eq(conn_local_addr(pair.server.conn), &pair.at));
}

static void an_fd_that_is_no_socket_is_refused_and_closed(void **state)
{
    int fds[2];
    struct conn *c;
    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(conn_adopt(pair.loop, fds[0], NULL, &c), -ENOTSOCK);
    assert_null(c);
    assert_int_equal(fcntl(fds[0], F_GETFD), -1);
    close(fds[1]);
}

static void unix_sockets_work_alike(void **state)
{
    struct pair p;
    char name[64];
    (void)state;
    snprintf(name, sizeof(name), "@outrigger-conn-test-%d", getpid());
    pair_init(&p, name);
    pair_connect(&p, NULL);
    conn_write(p.client.conn, "over unix", 9);
    conn_shutdown(p.client.conn);
    PAIR_UNTIL(&p, p.server.eof_calls);
    assert_true(str_eq_c(buf_str(&p.server.got), "over unix"));
    pair_fini(&p);
}

int main(void)
{
#define PAIR_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        PAIR_TEST(bytes_go_both_ways),
        PAIR_TEST(writes_of_one_event_leave_in_one_piece),
        PAIR_TEST(flush_sends_without_waiting_for_the_end_of_the_event),
        PAIR_TEST(what_is_written_before_the_connect_is_sent_after_it),
        PAIR_TEST(a_slow_reader_raises_the_high_and_then_the_low_watermark),
        PAIR_TEST(small_writes_alone_reach_the_watermark_too),
        PAIR_TEST(read_pauses_nest),
        PAIR_TEST(half_close_lets_the_other_side_write_on),
        PAIR_TEST(without_on_eof_the_peers_end_closes),
        PAIR_TEST(close_raises_the_end_later_and_once),
        PAIR_TEST(abort_resets_the_peer),
        PAIR_TEST(a_reset_right_behind_data_is_not_taken_for_an_end_of_stream),
        PAIR_TEST(an_answer_sent_before_a_reset_is_delivered_though_writing_fails),
        PAIR_TEST(a_failed_write_ends_a_connection_that_does_not_read),
        PAIR_TEST(close_after_flush_sends_all_then_waits_for_the_peer),
        PAIR_TEST(a_peer_that_stays_is_closed_after_the_delay),
        PAIR_TEST(a_peer_that_never_reads_is_closed_after_the_delay),
        PAIR_TEST(without_delay_it_closes_when_all_is_sent),
        PAIR_TEST(the_destination_can_be_restored),
        PAIR_TEST(an_fd_that_is_no_socket_is_refused_and_closed),
        PAIR_TEST(unix_sockets_work_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
