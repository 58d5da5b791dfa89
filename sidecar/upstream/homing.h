/* Things that main made and workers use: any thread may take and give back references, but only
 * main lowers the count, so it alone sees the last one go, and may hand the thing out again until
 * then. */
#ifndef OUTRIGGER_UPSTREAM_HOMING_H
#define OUTRIGGER_UPSTREAM_HOMING_H

#include "sidecar/net/mailbox.h"

#include <pthread.h>

/* The way home. */
struct home {
    struct mailbox *mailbox; /* main's */
    pthread_t thread;        /* main's */
};

/* Calls fn(arg) on main: at once when this is main, else by mail. */
static inline void home_run(const struct home *h, loop_fn *fn, void *arg)
{
    if (pthread_equal(pthread_self(), h->thread))
        fn(arg);
    else
        mailbox_post(h->mailbox, fn, arg);
}

#endif
