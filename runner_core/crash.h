// Fatal signals become an `error` record and an `end`, so that a crash says where it happened.
#pragma once

#include "records.h"

namespace phonebench {

// Name the phase that begins; errors and crashes name it.
void enter_phase(const char* name);
const char* current_phase();

// From here on a fatal signal finishes `writer`'s file before it ends the process.
void install_crash_handlers(RecordWriter& writer);

// From here on a signal just ends the process: what is left is writing the end, or the process is
// one that only reads probes, and the result is not its own.
void disarm_crash_handlers();

}  // namespace phonebench
