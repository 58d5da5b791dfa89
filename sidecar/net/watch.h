/* Changes in a directory tree, by inotify (IN_CLOSE_WRITE, IN_MOVED_*, IN_DELETE): a writer that
 * closed, a rename, a removal; not each write. */
#ifndef OUTRIGGER_NET_WATCH_H
#define OUTRIGGER_NET_WATCH_H

#include "sidecar/net/loop.h"

struct watch;
/* Something under path changed (coalesced: one call a turn). New directories are watched too. */
typedef void watch_fn(void *ctx);
/* NULL with errno set where path cannot be watched. */
struct watch *watch_start(struct loop *loop, const char *path, watch_fn *fn, void *ctx);
void watch_stop(struct watch **w);

#endif
