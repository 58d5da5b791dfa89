#include "sidecar/base/die.h"
#include "sidecar/base/log.h"
#include "sidecar/net/listen.h"
#include "sidecar/net/timer.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct loop *loop;
static unsigned accepted;
static struct addr last_peer;
static int last_flags, last_fd_flags;

static int set_up(void **state)
{
    (void)state;
    loop = loop_new();
    accepted = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    loop_free(&loop);
    return 0;
}

static void on_accept(void *ctx, int fd, const struct addr *peer)
{
    (void)ctx;
    accepted++;
    last_peer = *peer;
    last_flags = fcntl(fd, F_GETFL);
    last_fd_flags = fcntl(fd, F_GETFD);
    close(fd);
}

static void stop(struct timer *t)
{
    loop_stop(t->loop);
}

static void run_ms(uint64_t ms)
{
    struct timer t;
    timer_init(&t, loop, stop);
    timer_arm(&t, ms);
    loop_run(loop);
}

static int bind_loopback(const struct listen_options *o, struct addr *at_r)
{
    addr_parse(STR("127.0.0.1:0"), at_r);
    int fd = listen_bind(at_r, o);
    assert_true(fd >= 0);
    at_r->len = sizeof(at_r->un);
    getsockname(fd, &at_r->sa, &at_r->len);
    return fd;
}

static int connect_to(const struct addr *at)
{
    int fd = socket(at->sa.sa_family, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, &at->sa, at->len), 0);
    return fd;
}

static void accepted_sockets_are_nonblocking_and_close_on_exec(void **state)
{
    struct addr at, mine = {.len = sizeof(mine.un)};
    (void)state;
    int fd = bind_loopback(NULL, &at);
    struct listen_socket *ls = listen_start(loop, fd, on_accept, NULL);
    int c = connect_to(&at);
    getsockname(c, &mine.sa, &mine.len);
    run_ms(5);
    assert_int_equal(accepted, 1);
    assert_true(addr_eq(&last_peer, &mine));
    assert_true(last_flags & O_NONBLOCK);
    assert_true(last_fd_flags & FD_CLOEXEC);
    listen_stop(&ls);
    assert_null(ls);
    close(c);
    close(fd);
}

static void stopping_takes_what_waits_in_the_backlog(void **state)
{
    struct addr at;
    int c[100];
    (void)state;
    int fd = bind_loopback(NULL, &at);
    struct listen_socket *ls = listen_start(loop, fd, on_accept, NULL);
    for (unsigned i = 0; i < ARRAY_LEN(c); i++)
        c[i] = connect_to(&at);
    listen_stop(&ls);
    assert_int_equal(accepted, ARRAY_LEN(c));
    for (unsigned i = 0; i < ARRAY_LEN(c); i++)
        close(c[i]);
    close(fd);
}

static struct listen_socket *to_stop;

static void stop_inside(void *ctx, int fd, const struct addr *peer)
{
    on_accept(ctx, fd, peer);
    listen_stop(&to_stop);
}

static void it_can_be_stopped_from_its_own_callback(void **state)
{
    struct addr at;
    (void)state;
    int fd = bind_loopback(NULL, &at);
    to_stop = listen_start(loop, fd, stop_inside, NULL);
    int a = connect_to(&at), b = connect_to(&at);
    run_ms(5);
    assert_null(to_stop);
    assert_int_equal(accepted, 2);
    close(a);
    close(b);
    close(fd);
}

static void out_of_descriptors_it_pauses_and_goes_on(void **state)
{
    struct addr at;
    struct rlimit old, tight;
    (void)state;
    int fd = bind_loopback(NULL, &at);
    struct listen_socket *ls = listen_start(loop, fd, on_accept, NULL);
    int c = connect_to(&at);
    int next = dup(0); /* the lowest free number */
    close(next);
    getrlimit(RLIMIT_NOFILE, &old);
    tight = old;
    tight.rlim_cur = (rlim_t)next;
    log_set_level(LOG_OFF);
    setrlimit(RLIMIT_NOFILE, &tight);
    run_ms(20);
    setrlimit(RLIMIT_NOFILE, &old);
    log_set_level(LOG_INFO);
    assert_int_equal(accepted, 0);
    run_ms(20); /* still pausing, though there is room again: it does not spin */
    assert_int_equal(accepted, 0);
    run_ms(120);
    assert_int_equal(accepted, 1);
    listen_stop(&ls);
    close(c);
    close(fd);
}

static void of_the_last_descriptors_it_takes_none_but_one(void **state)
{
    enum { CROWD = 20 };
    struct addr at;
    struct rlimit old, tight;
    int clients[CROWD], low[200], count = 0;
    (void)state;
    int fd = bind_loopback(NULL, &at);
    for (int i = 0; i < CROWD; i++)
        clients[i] = connect_to(&at);
    getrlimit(RLIMIT_NOFILE, &old);
    tight = old;
    tight.rlim_cur = 240;
    while (count < 200 && (low[count] = dup(0)) < 200) /* of 240 the last 30 are kept; accepted ones are closed at once */
        count++;
    log_set_level(LOG_OFF);
    setrlimit(RLIMIT_NOFILE, &tight);
    struct listen_socket *ls = listen_start(loop, fd, on_accept, NULL);
    listen_keep_reserve(ls);
    while (low[count] < 210 && count < 199)
        low[++count] = dup(0);
    run_ms(150);
    assert_int_equal(accepted, 1);
    for (int i = 0; i <= count; i++)
        close(low[i]);
    run_ms(150);
    setrlimit(RLIMIT_NOFILE, &old);
    log_set_level(LOG_INFO);
    assert_int_equal(accepted, CROWD);
    listen_stop(&ls);
    for (int i = 0; i < CROWD; i++)
        close(clients[i]);
    close(fd);
}

static void two_sockets_share_a_port_when_asked_to(void **state)
{
    struct addr at;
    struct listen_options shared = {.reuse_port = true};
    (void)state;
    int a = bind_loopback(&shared, &at);
    int b = listen_bind(&at, &shared);
    assert_true(b >= 0);
    assert_int_equal(listen_bind(&at, NULL), -EADDRINUSE);
    close(a);
    close(b);
}

static int try_connect(const struct addr *at)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = connect(fd, &at->sa, at->len) == 0 ? 0 : -errno;
    close(fd);
    return rc;
}

static void what_is_reserved_is_bound_and_refuses_until_it_is_open(void **state)
{
    struct addr at;
    const struct listen_options none = {0};
    (void)state;
    int before = bind_loopback(&none, &at); /* tells a port that was free */
    assert_int_equal(listen_reserve(&at, &none), -EADDRINUSE);
    close(before);
    int fd = listen_reserve(&at, &none);
    assert_true(fd >= 0);
    assert_int_equal(try_connect(&at), -ECONNREFUSED);
    assert_int_equal(listen_open(fd, 0), 0);
    assert_int_equal(try_connect(&at), 0);
    assert_int_equal(listen_open(fd, 16), 0); /* again: another backlog */
    close(fd);
    assert_int_equal(listen_open(fd, 0), -EBADF);
}

static void a_stale_unix_socket_is_replaced_and_a_live_one_is_not(void **state)
{
    char dir[] = "/tmp/outrigger-listen-XXXXXX", path[64];
    struct addr at;
    struct stat st;
    struct listen_options o = {.unix_mode = 0600};
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/s", dir);
    addr_from_unix(str_of(path), &at);
    int fd = listen_bind(&at, &o);
    assert_true(fd >= 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(listen_bind(&at, &o), -EADDRINUSE);
    close(fd);
    fd = listen_bind(&at, &o);
    assert_true(fd >= 0);
    close(fd);
    unlink(path);
    FILE *f = fopen(path, "w"); /* no socket: not ours to remove */
    fclose(f);
    assert_int_equal(listen_bind(&at, &o), -EADDRINUSE);
    unlink(path);
    rmdir(dir);
}

static void an_address_that_is_not_ours_is_refused(void **state)
{
    struct addr at;
    (void)state;
    addr_parse(STR("192.0.2.1:0"), &at);
    assert_int_equal(listen_bind(&at, NULL), -EADDRNOTAVAIL);
}

int main(void)
{
#define LOOP_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        LOOP_TEST(accepted_sockets_are_nonblocking_and_close_on_exec),
        LOOP_TEST(stopping_takes_what_waits_in_the_backlog),
        LOOP_TEST(it_can_be_stopped_from_its_own_callback),
        LOOP_TEST(out_of_descriptors_it_pauses_and_goes_on),
        LOOP_TEST(of_the_last_descriptors_it_takes_none_but_one),
        LOOP_TEST(two_sockets_share_a_port_when_asked_to),
        LOOP_TEST(what_is_reserved_is_bound_and_refuses_until_it_is_open),
        LOOP_TEST(a_stale_unix_socket_is_replaced_and_a_live_one_is_not),
        LOOP_TEST(an_address_that_is_not_ours_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
