#include "sidecar/net/signal.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

static unsigned calls;
static struct loop *loop;

static void on_signal(void *ctx, int signum)
{
    assert_ptr_equal(ctx, &calls);
    assert_int_equal(signum, SIGUSR1);
    calls++;
    loop_stop(loop);
}

static void a_signal_arrives_on_the_loop_until_it_is_stopped(void **state)
{
    (void)state;
    loop = loop_new();
    struct signal_watch *w = signal_start(loop, SIGUSR1, on_signal, &calls);
    kill(getpid(), SIGUSR1);
    assert_int_equal(calls, 0);
    loop_run(loop);
    assert_int_equal(calls, 1);
    signal_stop(&w);
    assert_null(w);
    signal(SIGUSR1, SIG_IGN);
    kill(getpid(), SIGUSR1);
    loop_run_ready(loop);
    assert_int_equal(calls, 1);
    loop_free(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signal_arrives_on_the_loop_until_it_is_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
