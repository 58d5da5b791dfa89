/* The sidecar's command line: Envoy's flags. */
#ifndef OUTRIGGER_SIDECAR_OPTIONS_H
#define OUTRIGGER_SIDECAR_OPTIONS_H

#include "sidecar/base/log.h"

enum options_mode { MODE_SERVE, MODE_VALIDATE };

struct options {
    const char *config_path; /* NULL: none */
    const char *config_yaml;
    unsigned concurrency; /* 0: as many as the machine has processors */
    enum options_mode mode;
    enum log_level log_level;
    const char *log_path;
    const char *service_node, *service_cluster, *service_zone; /* NULL: not given */
    /* Where they are not given: 600 and gradual, as Envoy; without a configuration, which means beside an application in a
     * pod, 45 and immediate, as Istio starts Envoy there. */
    unsigned drain_time_s;
    enum { DRAIN_NOT_GIVEN, DRAIN_GRADUALLY, DRAIN_AT_ONCE } drain; /* --drain-strategy */
};

enum options_verdict { OPTIONS_RUN, OPTIONS_DONE /* --version, --help: exit 0 */, OPTIONS_USAGE /* exit 2 */ };
/* Component levels are set at once. What is wrong has been said on stderr. */
enum options_verdict options_parse(int argc, char **argv, struct options *o);

#endif
