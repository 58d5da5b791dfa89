/* Findings that the control plane tells as JSON. */
#ifndef OUTRIGGER_CONTROL_CLI_TOLD_H
#define OUTRIGGER_CONTROL_CLI_TOLD_H

#include "proto/findings.h"

#include <jansson.h>

/* Adds all of an array (NULL: none). */
void told_findings(const json_t *array, struct findings *to);

#endif
