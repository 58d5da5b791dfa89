/* Puts the sidecar into pods, and takes it out again: of manifests by text, of a webhook's pods by tree. */
#ifndef OUTRIGGER_CONTROL_INJECT_INJECT_H
#define OUTRIGGER_CONTROL_INJECT_INJECT_H

#include "proto/codec.h"
#include "proto/findings.h"

#include <jansson.h>

struct inject_params {
    const char *image;     /* of the sidecar and the init container */
    const char *discovery; /* HOST:PORT of the control plane's ADS */
    const char *ns;        /* of documents that name none */
};
#define INJECT_DISCOVERY_DEFAULT "outrigger.outrigger-system.svc:15010"

/* `outrigger inject` and `outrigger uninject`: argv[0] is the verb. Returns the exit code. */
int inject_main(int argc, char **argv);

/* Appends the text with the sidecar in each pod and pod template that wants one. What was there stays as it is, byte for
 * byte, and every addition stands between marks. Says of each workload what became of it (info). Nothing is appended and
 * false returned when a finding of level error was added. */
bool inject_text(struct str text, const char *file, const struct inject_params *params, struct findings *findings,
                 struct buf *out);
/* The same as one JSON object, {"apiVersion": "v1", "kind": "List", "items": [...]} of all documents: for programs. */
bool inject_json(struct str text, const char *file, const struct inject_params *params, struct findings *findings,
                 struct buf *out);
/* The same for documents as they are, without any injection. */
bool inject_json_nothing(struct str text, const char *file, struct findings *findings, struct buf *out);
/* Appends what inject_text was given when it made this text; text without marks as it is. False with findings where the
 * marks do not match. */
bool uninject_text(struct str text, const char *file, struct findings *findings, struct buf *out);

#endif
