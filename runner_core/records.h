// The writer of the result: JSON Lines, whole or not at all. docs/record-format.md describes them.
// The host reads them in harness/schema/record.py; tests/golden/ binds both sides.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "inputs.h"
#include "job.h"

namespace phonebench {

constexpr int kRecordVersion = 3;

// Appends records to RESULT.partial; `finish` makes it RESULT. A writer that goes without having
// finished takes the file along: the disk is full. All throw StorageError.
class RecordWriter {
 public:
  explicit RecordWriter(const std::string& result_path);
  ~RecordWriter();
  RecordWriter(const RecordWriter&) = delete;
  RecordWriter& operator=(const RecordWriter&) = delete;

  void write(const Json& record);

  // Write the end record, flush to storage, and give the file its name.
  void finish(bool ok, int64_t time_ns);

  // Do the same from a signal handler, after an `error` record: only async-signal-safe calls, on
  // what was completely written before.
  void finish_in_signal_handler(const char* signal_name, const char* phase, int64_t time_ns);

 private:
  struct Committed {
    uint64_t bytes = 0;
    uint32_t crc = 0;
    int64_t records = 0;
  };

  void append(const char* text, size_t size);

  std::string result_path_;
  std::string partial_path_;
  std::string folder_;
  int file_ = -1;
  bool finished_ = false;
  // Two, and which of them holds: a signal between two stores still finds a consistent one.
  Committed committed_[2];
  std::atomic<int> current_{0};
};

std::string base64(const unsigned char* bytes, size_t size);
uint32_t crc32(uint32_t crc, const char* bytes, size_t size);

Json error_record(const char* kind, const std::string& phase, const std::string& message);
Json output_record(int sample, int index, const HostTensor& tensor);

}  // namespace phonebench
