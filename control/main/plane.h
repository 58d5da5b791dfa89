/* The control plane: its sources, what it makes of them, and those who ask for it. */
#ifndef OUTRIGGER_CONTROL_MAIN_PLANE_H
#define OUTRIGGER_CONTROL_MAIN_PLANE_H

#include "control/main/options.h"

/* Runs until SIGTERM or SIGINT. The exit code. */
int plane_run(const struct options *options);

#endif
