/* One event loop a thread. Nothing above net/ sees libuv. */
#ifndef OUTRIGGER_NET_LOOP_H
#define OUTRIGGER_NET_LOOP_H

#include <stdint.h>

struct loop;

typedef void loop_fn(void *arg);

struct loop *loop_new(void);
/* Closes what is left, runs what was deferred, frees it and sets *loop to NULL. */
void loop_free(struct loop **loop);
/* Runs until loop_stop. Called on the thread that owns the loop from then on. */
void loop_run(struct loop *loop);
/* Runs until nothing is ready, without waiting for more; for tests. */
void loop_run_ready(struct loop *loop);
void loop_stop(struct loop *loop); /* on the loop's own thread */
/* Monotonic, cached once a turn. */
uint64_t loop_now_ms(const struct loop *loop);
/* Monotonic, read once an event: when the event that is being handled began, or a little later.
 * For how long something takes within one event there is clock_mono_ns. */
uint64_t loop_now_ns(struct loop *loop);
/* Calls fn(arg) at the end of this turn, after all I/O callbacks, in the order of the calls. This
 * is the graveyard: what a callback condemns is freed here, so a callback may finish its caller. */
void loop_defer(struct loop *loop, loop_fn *fn, void *arg);

#endif
