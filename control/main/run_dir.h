/* The run directory and what is kept in it. */
#ifndef OUTRIGGER_CONTROL_MAIN_RUN_DIR_H
#define OUTRIGGER_CONTROL_MAIN_RUN_DIR_H

#include "sidecar/base/err.h"

/* $OUTRIGGER_RUN, or its default: for the caller to free. */
char *run_dir_path(void);
/* Makes the directory (0700) and the one above it if need be. */
bool run_dir_make(const char *path, struct err *err);
/* The API's token, made on first use (0600): for the caller to free. NULL with err. */
char *run_dir_token(const char *run, struct err *err);

#endif
