// Reads the job's probes while a launch runs: those with a period in a process of its own, which
// changes neither the memory nor the threads of what is measured; the others at the runner's marks.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "job.h"
#include "readings.h"
#include "records.h"

namespace phonebench {

class Sampler {
 public:
  explicit Sampler(const std::vector<Probe>& probes);
  ~Sampler();
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;

  // Begin to read the probes with a period; makes no process if there are none. What cannot be
  // begun is counted as a failure of its channels. Call before the engine has threads.
  void start();

  // Read the probes without a period.
  void read_at_mark();

  // End the reading, and write the traces and what they cost.
  void finish(RecordWriter& out);

 private:
  struct Track;
  struct Cost;
  class Room;
  struct Series;

  // A process that reads some of the series. Closing `stop` ends it.
  struct Process {
    std::vector<Series*> series;
    pid_t pid = -1;
    int stop = -1;
  };

  void start(Process& process);
  [[noreturn]] void follow(const std::vector<Series*>& own, pid_t runner, int stop);
  void read(Series& series, int stop);
  static void fail_all(const std::vector<Series*>& list, const std::string& reason);
  void end(Process& process, bool at_once);

  std::unique_ptr<Room> room_;
  std::unique_ptr<char[]> text_;
  std::vector<std::unique_ptr<Series>> series_;
  // One for files and one for commands, which may be slow.
  Process files_, commands_;
  int64_t cpu_ns_ = 0;
};

}  // namespace phonebench
