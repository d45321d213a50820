// Reads the job's probes while a launch runs: those with a period in companions of the runner, the
// others at its marks.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "job.h"
#include "platform/companion.h"
#include "platform/text_reader.h"
#include "records.h"

namespace phonebench {

class Sampler {
 public:
  explicit Sampler(const std::vector<Probe>& probes);
  ~Sampler();
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;

  // Begin to read the probes with a period; makes no companion if there are none. What cannot be
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

  // What one companion reads.
  struct Group {
    std::vector<Series*> series;
    Companion companion;
  };

  void start(Group& group);
  void follow(const std::vector<Series*>& own, int stop);
  void read(Series& series, int stop);
  static void fail_all(const std::vector<Series*>& list, const std::string& reason);
  static void end(Group& group);

  std::unique_ptr<Room> room_;
  std::unique_ptr<char[]> text_;
  std::vector<std::unique_ptr<Series>> series_;
  // One for files and one for commands, which may be slow. Last, for they read what is above.
  Group files_, commands_;
};

}  // namespace phonebench
