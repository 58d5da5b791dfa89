#include "pair.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
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

static void begin(struct addr to, const struct dial_options *options)
{
    pair.client.conn = dial(pair.loop, &to, options);
    assert_non_null(pair.client.conn);
    conn_set_handler(pair.client.conn, &side_handler, &pair.client);
    assert_int_equal(pair.client.end_calls + pair.client.ready_calls, 0);
}

static void a_refused_connect_ends_with_its_errno_and_text(void **state)
{
    struct addr nobody;
    (void)state;
    addr_parse(STR("127.0.0.1:0"), &nobody);
    int fd = listen_bind(&nobody, NULL);
    nobody = pair_bound_addr(fd);
    close(fd);
    begin(nobody, NULL);
    PAIR_UNTIL(&pair, pair.client.end_calls);
    assert_int_equal(pair.client.end, CONN_END_CONNECT_FAILED);
    assert_int_equal(pair.client.error, ECONNREFUSED);
    assert_string_equal(pair.client.failure, "delayed connect error: Connection refused");
    assert_int_equal(pair.client.ready_calls, 0);
}

static void a_unix_socket_that_is_not_there_fails_alike(void **state)
{
    struct addr to;
    (void)state;
    addr_from_unix(STR("/nonexistent/outrigger.sock"), &to);
    begin(to, NULL);
    PAIR_UNTIL(&pair, pair.client.end_calls);
    assert_int_equal(pair.client.end, CONN_END_CONNECT_FAILED);
    assert_int_equal(pair.client.error, ENOENT);
    assert_string_equal(pair.client.failure, "immediate connect error: No such file or directory");
}

/* A listener whose backlog is full drops SYNs: nobody answers. One more than the backlog is let in. */
static int fill_backlog(struct addr *at_r, int *fillers, unsigned count)
{
    struct addr at;
    addr_parse(STR("127.0.0.1:0"), &at);
    int fd = listen_bind(&at, &(struct listen_options){.backlog = 1});
    *at_r = pair_bound_addr(fd);
    for (unsigned i = 0; i < count; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fillers[i], &at_r->sa, at_r->len);
    }
    for (unsigned i = 0; i < 2; i++) {
        struct pollfd let_in = {.fd = fillers[i], .events = POLLOUT};
        assert_int_equal(poll(&let_in, 1, 8000), 1);
    }
    return fd;
}

static void a_connect_that_nobody_answers_times_out(void **state)
{
    struct addr to;
    int fillers[4];
    (void)state;
    int fd = fill_backlog(&to, fillers, 4);
    uint64_t begun_ms = loop_now_ms(pair.loop);
    begin(to, &(struct dial_options){.connect_timeout_ms = 100});
    PAIR_UNTIL(&pair, pair.client.end_calls);
    assert_true(loop_now_ms(pair.loop) - begun_ms >= 100);
    assert_int_equal(pair.client.end, CONN_END_CONNECT_TIMEOUT);
    assert_int_equal(pair.client.error, ETIMEDOUT);
    for (unsigned i = 0; i < 4; i++)
        close(fillers[i]);
    close(fd);
}

static void a_connect_can_be_given_up(void **state)
{
    (void)state;
    begin(pair.at, NULL);
    conn_close(pair.client.conn);
    PAIR_UNTIL(&pair, pair.client.end_calls);
    assert_int_equal(pair.client.end, CONN_END_LOCAL);
    assert_int_equal(pair.client.ready_calls, 0);
}

static void a_connect_given_up_at_once_after_writing_still_sends_it(void **state)
{
    (void)state;
    begin(pair.at, NULL);
    conn_write(pair.client.conn, "bye", 3);
    conn_close_after_flush(pair.client.conn, 0);
    PAIR_UNTIL(&pair, pair.server.eof_calls);
    assert_true(str_eq_c(buf_str(&pair.server.got), "bye"));
    PAIR_UNTIL(&pair, pair.client.end_calls);
    assert_int_equal(pair.client.end, CONN_END_LOCAL);
}

static void the_source_address_is_bound(void **state)
{
    struct dial_options o = {.freebind = true};
    struct addr seen;
    (void)state;
    addr_from_ip(STR("127.0.0.6"), 0, &o.source);
    pair_connect(&pair, &o);
    seen = addr_copy(conn_peer_addr(pair.server.conn));
    addr_set_port(&seen, 0);
    assert_true(addr_eq(&seen, &o.source));
}

static void a_source_that_is_not_ours_is_named_in_the_failure(void **state)
{
    struct dial_options o = {0};
    (void)state;
    addr_from_ip(STR("192.0.2.1"), 0, &o.source);
    begin(pair.at, &o);
    PAIR_UNTIL(&pair, pair.client.end_calls);
    assert_int_equal(pair.client.end, CONN_END_CONNECT_FAILED);
    assert_int_equal(pair.client.error, EADDRNOTAVAIL);
    assert_string_equal(pair.client.failure,
                        "cannot bind to source 192.0.2.1:0: Cannot assign requested address");
}

static int option(int level, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);
    getsockopt(conn_fd(pair.client.conn), level, name, &value, &len);
    return value;
}

static void keepalive_and_nodelay_are_set(void **state)
{
    struct dial_options o = {
        .keepalive = {.on = true, .probes = 7, .time_s = 11, .interval_s = 13}};
    (void)state;
    pair_connect(&pair, &o);
    assert_int_equal(option(SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option(IPPROTO_TCP, TCP_KEEPCNT), 7);
    assert_int_equal(option(IPPROTO_TCP, TCP_KEEPIDLE), 11);
    assert_int_equal(option(IPPROTO_TCP, TCP_KEEPINTVL), 13);
    assert_int_equal(option(IPPROTO_TCP, TCP_NODELAY), 1);
}

static void the_mark_is_set_or_its_failure_is_told(void **state)
{
    (void)state;
    begin(pair.at, &(struct dial_options){.so_mark = 1337});
    PAIR_UNTIL(&pair, pair.client.end_calls || pair.client.ready_calls);
    if (pair.client.ready_calls) {
        assert_int_equal(option(SOL_SOCKET, SO_MARK), 1337);
    } else {
        assert_int_equal(pair.client.error, EPERM);
        assert_string_equal(
            pair.client.failure,
            "cannot set SO_MARK (it needs CAP_NET_ADMIN) to 1337: Operation not permitted");
    }
}

int main(void)
{
#define PAIR_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        PAIR_TEST(a_refused_connect_ends_with_its_errno_and_text),
        PAIR_TEST(a_unix_socket_that_is_not_there_fails_alike),
        PAIR_TEST(a_connect_that_nobody_answers_times_out),
        PAIR_TEST(a_connect_can_be_given_up),
        PAIR_TEST(a_connect_given_up_at_once_after_writing_still_sends_it),
        PAIR_TEST(the_source_address_is_bound),
        PAIR_TEST(a_source_that_is_not_ours_is_named_in_the_failure),
        PAIR_TEST(keepalive_and_nodelay_are_set),
        PAIR_TEST(the_mark_is_set_or_its_failure_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
