/* Names of fields as HTTP/1 writes them: in lower case, in proper case, or as the message's sender wrote them (Envoy's preserve_case).
 * Everybody else sees names in lower case. */
#ifndef OUTRIGGER_HTTP_SPELLING_H
#define OUTRIGGER_HTTP_SPELLING_H

#include "sidecar/base/arena.h"

enum name_form { NAMES_LOWER, NAMES_PROPER, NAMES_KEPT };

/* Of what a codec reads and writes. */
struct name_options {
    enum name_form form;    /* NAMES_KEPT: of messages that are read, wherever they go */
    bool others_are_proper; /* NAMES_KEPT: names that the message did not have */
    bool keeps_reason;      /* NAMES_KEPT: the words of the status line, too */
};

/* Of one message, in its arena. */
struct spelling;
struct spelling *spelling_new(struct arena *arena, const struct name_options *options);
/* lower: the same in lower case. Both must live as long as the arena. The first of several counts, as in Envoy. */
void spelling_note(struct spelling *s, struct str lower, struct str as_written);
void spelling_note_reason(struct spelling *s, struct str reason);
/* STR_NONE: not one of the message's. */
struct str spelling_find(const struct spelling *s, struct str lower);
bool spelling_others_are_proper(const struct spelling *s);
struct str spelling_reason(const struct spelling *s); /* STR_NONE: none, or not kept */

#endif
