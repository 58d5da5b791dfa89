/* What is to be done when a thread ends: a list of its own. Any thread. */
#include "sidecar/base/thread.h"

#include "sidecar/base/die.h"

#include <stdlib.h>
#include <threads.h>

struct at_exit {
    struct at_exit *next;
    void (*fn)(void *arg);
    void *arg;
};

static tss_t key;
static once_flag once = ONCE_FLAG_INIT;

static void run(void *arg)
{
    struct at_exit *next;
    for (struct at_exit *e = arg; e; e = next) {
        next = e->next;
        e->fn(e->arg);
        free(e);
    }
}

static void init(void)
{
    if (tss_create(&key, run) != thrd_success)
        die("cannot make a thread-specific key; too many are in use");
}

void thread_at_exit(void (*fn)(void *arg), void *arg)
{
    call_once(&once, init);
    struct at_exit *e = NEW(struct at_exit);
    *e = (struct at_exit){tss_get(key), fn, arg};
    tss_set(key, e);
}
