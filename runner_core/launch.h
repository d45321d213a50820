// One launch, from a job file to a result file: what a runner does, and what an app may call.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "job.h"

namespace phonebench {

// When the process that measures came about, by `now_ns`.
struct ProcessStart {
  std::optional<int64_t> exec_ns;  // when it was asked for, if whoever asked has told
  int64_t main_ns;                 // when its own code began
};

// Called with a word or two on what goes on ("measuring"), never while something is timed.
using Progress = void (*)(const char* text);

enum class Ending {
  kOk,        // the result holds all that was asked for
  kFailed,    // the result holds an `error` record, and whatever came before it
  kNoResult,  // it could not be written: there is none
};

struct Outcome {
  Ending ending;
  std::string reason;  // empty if all went well
};

// Do the job, with the engine that this program is linked with, and write the result. Throws
// nothing, ends no process, and takes back what it set (signals, cores, the allocator), so that
// another launch may follow. One at a time: what is measured is the process's own, and so is the
// phase that a crash names. What a process only gains it keeps: memory's high-water mark, and the
// threads that an engine makes once, with the cores of the first job.
Outcome run_launch(const char* job_path, const char* result_path, const ProcessStart& start,
                   Progress progress);

// The versions of this runner, of what it reads and writes, and of its engine.
Json runner_facts();

}  // namespace phonebench
