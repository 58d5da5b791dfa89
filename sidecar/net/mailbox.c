/* Owns the letters that other threads wrote to one loop's thread. The mutex is held only to link
 * one letter or to take them all; it is the only lock between threads. Letters run in the order in
 * which they were posted, and one that a letter posts runs after those that were there. */
#include "sidecar/net/mailbox.h"

#include "sidecar/base/die.h"
#include "sidecar/net/loop_priv.h"

#include <pthread.h>
#include <stdlib.h>

struct letter {
    struct letter *next;
    loop_fn *fn;
    void *arg;
};

struct mailbox {
    uv_async_t async;
    struct loop *loop;
    pthread_mutex_t lock;
    struct letter *first, **end; /* under the lock */
};

static struct letter *take_all(struct mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    struct letter *first = m->first;
    m->first = NULL;
    m->end = &m->first;
    pthread_mutex_unlock(&m->lock);
    return first;
}

/* Returns whether there were any. */
static bool run_all(struct mailbox *m)
{
    struct letter *l = take_all(m);
    if (!l)
        return false;
    while (l) {
        struct letter *next = l->next;
        l->fn(l->arg);
        free(l);
        l = next;
    }
    return true;
}

static void on_async(uv_async_t *async)
{
    struct mailbox *m = CONTAINER_OF(async, struct mailbox, async);
    struct loop *loop = m->loop; /* a letter may free the mailbox */
    run_all(m);
    loop_event_end(loop);
}

struct mailbox *mailbox_new(struct loop *loop)
{
    struct mailbox *m = NEW(struct mailbox);
    m->loop = loop;
    m->end = &m->first;
    pthread_mutex_init(&m->lock, NULL);
    int rc = uv_async_init(loop_uv(loop), &m->async, on_async);
    if (rc != 0)
        die("cannot make a mailbox: %s", uv_strerror(rc));
    return m;
}

static void on_closed(uv_handle_t *handle)
{
    struct mailbox *m = CONTAINER_OF(handle, struct mailbox, async);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

void mailbox_free(struct mailbox **mailbox)
{
    struct mailbox *m = *mailbox;
    if (!m)
        return;
    assert(!uv_is_closing((uv_handle_t *)&m->async));
    while (run_all(m))
        ;
    *mailbox = NULL; /* not earlier: letters may post through it */
    uv_close((uv_handle_t *)&m->async, on_closed);
}

void mailbox_post(struct mailbox *m, loop_fn *fn, void *arg)
{
    struct letter *l = xmalloc(sizeof(*l));
    *l = (struct letter){.fn = fn, .arg = arg};
    pthread_mutex_lock(&m->lock);
    *m->end = l;
    m->end = &l->next;
    pthread_mutex_unlock(&m->lock);
    uv_async_send(&m->async);
}
