/* Tables of xDS resources, in istioctl's columns. */
#ifndef OUTRIGGER_CONTROL_CLI_PROXY_TABLE_H
#define OUTRIGGER_CONTROL_CLI_PROXY_TABLE_H

#include "control/cache/resource.h"

struct proxy_notes;

/* resources: a JSON array of protobuf's JSON. An exit code. */
int proxy_table_print(enum resource_type type, struct str resources, const struct proxy_notes *notes);

#endif
