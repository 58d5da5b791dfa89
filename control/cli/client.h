/* Asks the control plane's API over its socket. */
#ifndef OUTRIGGER_CONTROL_CLI_CLIENT_H
#define OUTRIGGER_CONTROL_CLI_CLIENT_H

#include "control/cli/cli.h"

struct client_answer {
    unsigned status;
    struct buf body;
};

/* Appends the answer's body. False: nobody answered, which was said on stderr. */
bool client_ask(const struct cli *cli, const char *method, const char *path, struct str body, struct client_answer *answer_r);
/* The same for a JSON answer of 200: a new reference, or NULL where that failed, which was said. */
json_t *client_get(const struct cli *cli, const char *path);
/* The text of {"error": ...}, else the body itself: for the caller to free. */
char *client_error(const struct client_answer *answer);

#endif
