/* Which fields of the wire's messages this build acts on, which it may ignore and why. Everything else is refused by
 * name: no field is silently taken. */
#ifndef OUTRIGGER_CONFIG_SUPPORTED_H
#define OUTRIGGER_CONFIG_SUPPORTED_H

#include "sidecar/base/err.h"

#include <protobuf-c/protobuf-c.h>

/* Walks a whole message (not into Any). A set field that is neither supported nor ignorable, and a field of the wire that
 * our .proto does not know, is refused. False with err, whose text begins with the path in the message. */
bool supported_check(const ProtobufCMessage *m, struct err *err);

/* Why something may be ignored: name is a type URL's type ("istio...Config") or "Message.field"; NULL: it may not. The
 * first time each is met a warning is logged. */
const char *ignorable_why(const char *name);
void ignorable_note(const char *name, const char *why);

#endif
