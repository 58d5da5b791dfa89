/* A test's server lives as long as the test holds its standard input open. */
#ifndef TESTS_SUPPORT_STDIN_END_H
#define TESTS_SUPPORT_STDIN_END_H

#include "sidecar/net/timer.h"

#include <poll.h>
#include <unistd.h>

static struct timer stdin_end_timer;

static void stdin_end_check(struct timer *t)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    if (poll(&p, 1, 0) > 0)
        loop_stop(t->loop);
    else
        timer_arm(t, 50);
}

static inline void stdin_end_stops(struct loop *loop)
{
    timer_init(&stdin_end_timer, loop, stdin_end_check);
    timer_arm(&stdin_end_timer, 50);
}

#endif
