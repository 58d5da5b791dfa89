/* Signals, on a loop. */
#ifndef OUTRIGGER_NET_SIGNAL_H
#define OUTRIGGER_NET_SIGNAL_H

#include "sidecar/net/loop.h"

struct signal_watch;
struct signal_watch *signal_start(struct loop *loop, int signum, void (*fn)(void *ctx, int signum),
                                  void *ctx);
void signal_stop(struct signal_watch **w);

#endif
