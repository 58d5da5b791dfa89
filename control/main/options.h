/* The flags of outrigger-control. */
#ifndef OUTRIGGER_CONTROL_MAIN_OPTIONS_H
#define OUTRIGGER_CONTROL_MAIN_OPTIONS_H

#include "sidecar/base/log.h"
#include "sidecar/net/addr.h"

struct options {
    const char **configs; /* --config, as often as it was given */
    unsigned config_count;
    const char *state; /* NULL: RUN/state */
    struct addr xds;
    struct addr http;  /* len 0: none */
    int http_fd;       /* -1: none */
    const char *socket; /* NULL: RUN/control.sock */
    const char *service_cidr, *domain, *root_namespace;
    enum log_level level;
};

enum options_verdict { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_WRONG };
/* What is wrong is said on stderr; help and version on stdout. */
enum options_verdict options_parse(int argc, char **argv, struct options *options_r);
void options_fini(struct options *options);

#endif
