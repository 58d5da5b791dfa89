/* The listening sockets, owned by main: one per listener and worker, kept over updates of the listener. */
#ifndef OUTRIGGER_SIDECAR_SOCKETS_H
#define OUTRIGGER_SIDECAR_SOCKETS_H

#include "sidecar/base/err.h"
#include "sidecar/filter/listener_cfg.h"

struct sockets;

struct sockets *sockets_new(unsigned workers);
void sockets_free(struct sockets **s);

/* The fds of a listener, one a worker (-1: that worker accepts nothing), bound now if its address or options changed. NULL with
 * err naming listener, address and reason. Fds that are replaced stay open until sockets_sweep. */
const int *sockets_open(struct sockets *s, const struct listener_cfg *l, struct err *err);
/* The listener is gone: its fds wait for sockets_sweep. */
void sockets_close(struct sockets *s, struct str name);
/* Hands over the fds that nobody accepts on any more once the workers have heard: a malloc'd list ended by -1; NULL: none. The
 * caller closes them with sockets_close_list. */
int *sockets_take_stale(struct sockets *s);
void sockets_close_list(int *fds);

/* The bound address of a listener ("127.0.0.1:80"), port 0 resolved; false: it has no socket. */
bool sockets_address(const struct sockets *s, struct str name, struct addr *addr_r);

#endif
