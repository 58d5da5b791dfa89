/* What all resources of a client's view are made from, as digests: where these are equal, so are the resources. Whoever lets the
 * compiling read something more must see that it is counted here. */
#ifndef OUTRIGGER_CONTROL_COMPILE_INPUTS_H
#define OUTRIGGER_CONTROL_COMPILE_INPUTS_H

#include "control/compile/view.h"

struct inputs {
    uint64_t settings;  /* of the mesh */
    uint64_t services;  /* that the client sees, without their endpoints */
    uint64_t addresses; /* endpoints that stand in listeners and clusters: of headless services, and names */
    uint64_t endpoints; /* all others */
    uint64_t rules;     /* VirtualServices that the client sees, and delegates */
    uint64_t l4_rules;  /* those of them that have tcp or tls rules */
    uint64_t sources;   /* DestinationRules that the client sees */
};

void inputs_of(const struct registry *registry, const struct client *client, struct inputs *inputs_r);

#endif
