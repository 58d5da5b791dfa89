/* What the table of endpoints says beyond the endpoints: whose address it is, and whether the sidecar has ejected it. */
#ifndef OUTRIGGER_CONTROL_CLI_PROXY_NOTES_H
#define OUTRIGGER_CONTROL_CLI_PROXY_NOTES_H

#include "control/cli/cli.h"

struct registry;

/* Zeroed: nothing is known. */
struct proxy_notes {
    json_t *pods;  /* address -> the pod's name */
    json_t *hosts; /* "CLUSTER HOST" -> state, as the sidecar tells */
};

/* Of the registry of files, which no sidecar has seen. */
void proxy_notes_of_files(struct proxy_notes *notes, const struct registry *registry);
/* Asks the control plane; what it does not answer stays unknown, which is said. */
void proxy_notes_of_plane(struct proxy_notes *notes, const struct cli *cli, struct str pod, struct str ns);
void proxy_notes_fini(struct proxy_notes *notes);

/* "-" where it is not known. host is "IP:PORT". */
const char *proxy_notes_pod(const struct proxy_notes *notes, const char *address);
const char *proxy_notes_check(const struct proxy_notes *notes, const char *cluster, const char *host); /* istioctl's "OK", "FAILED" */

#endif
