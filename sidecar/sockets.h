/* The listening sockets, owned by main: one per address of a listener and worker, kept over updates of the listener. */
#ifndef OUTRIGGER_SIDECAR_SOCKETS_H
#define OUTRIGGER_SIDECAR_SOCKETS_H

#include "sidecar/base/err.h"
#include "sidecar/filter/listener_cfg.h"

struct sockets;

struct sockets *sockets_new(unsigned workers);
void sockets_free(struct sockets **s);

/* Binds what a listener will need beyond what it has; nobody can connect there yet. false with err naming listener, address and
 * reason: nothing changed. What was reserved for it before and is not needed any more is let go. */
bool sockets_reserve(struct sockets *s, const struct listener_cfg *l, struct err *err);
/* What was reserved for it, and is not open, is let go. */
void sockets_release(struct sockets *s, struct str name);
/* The fds of a listener, for each worker one for each address, reserved now where that was not done. NULL with err as above; what
 * it had stays. Fds that are replaced are stale. */
const int *sockets_open(struct sockets *s, const struct listener_cfg *l, struct err *err);
/* The listener is gone: its fds are stale. */
void sockets_close(struct sockets *s, struct str name);
/* Replaced and closed fds stay open until the workers have heard of it: a mark for sockets_sweep then; 0: none are new. */
unsigned sockets_mark_stale(struct sockets *s);
/* Closes those that had the mark, or one before. */
void sockets_sweep(struct sockets *s, unsigned mark);

/* The bound address of a listener ("127.0.0.1:80") in place of the one at that index of its own, port 0 resolved; false: it has
 * no socket. */
bool sockets_address(const struct sockets *s, struct str name, unsigned at, struct addr *addr_r);

#endif
