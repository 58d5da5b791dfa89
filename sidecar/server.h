/* The sidecar as a whole, on main: it brings up workers, static resources and the ADS client, serves the admin and health
 * endpoints, and drains on SIGTERM. */
#ifndef OUTRIGGER_SIDECAR_SERVER_H
#define OUTRIGGER_SIDECAR_SERVER_H

#include "sidecar/bootstrap.h"
#include "sidecar/options.h"

/* Runs until a signal or /quitquitquit. The process's exit code. */
int server_run(const struct options *o, struct bootstrap *b);
/* Checks the static resources without opening a socket: 0, or 1 after saying on stderr what is wrong. */
int server_validate(const struct options *o, struct bootstrap *b);

#endif
