/* Owns a signal's delivery to one loop; libuv carries it from the handler to the loop by a pipe. */
#include "sidecar/net/signal.h"

#include "sidecar/base/die.h"
#include "sidecar/net/loop_priv.h"

#include <stdlib.h>

struct signal_watch {
    uv_signal_t uv;
    struct loop *loop;
    void (*fn)(void *ctx, int signum);
    void *ctx;
};

static void on_signal(uv_signal_t *uv, int signum)
{
    struct signal_watch *w = CONTAINER_OF(uv, struct signal_watch, uv);
    struct loop *loop = w->loop;
    w->fn(w->ctx, signum);
    loop_event_end(loop);
}

struct signal_watch *signal_start(struct loop *loop, int signum, void (*fn)(void *ctx, int signum),
                                  void *ctx)
{
    struct signal_watch *w = NEW(struct signal_watch);
    *w = (struct signal_watch){.loop = loop, .fn = fn, .ctx = ctx};
    uv_signal_init(loop_uv(loop), &w->uv);
    int rc = uv_signal_start(&w->uv, on_signal, signum);
    if (rc != 0)
        die("cannot watch signal %d: %s", signum, uv_strerror(rc));
    return w;
}

static void on_closed(uv_handle_t *handle)
{
    free(CONTAINER_OF(handle, struct signal_watch, uv));
}

void signal_stop(struct signal_watch **w_p)
{
    struct signal_watch *w = *w_p;
    if (!w)
        return;
    *w_p = NULL;
    uv_close((uv_handle_t *)&w->uv, on_closed);
}
