#include "records.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "fault.h"

namespace phonebench {
namespace {

std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) ? 0xEDB88320u : 0u);
    table[i] = value;
  }
  return table;
}

// Made before main, so that a signal handler never has to.
const std::array<uint32_t, 256> kCrcTable = make_crc_table();

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

void flush_folder(const char* folder) {
  const int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  fsync(descriptor);
  close(descriptor);
}

bool write_all(int file, const char* text, size_t size) {
  while (size > 0) {
    const ssize_t written = ::write(file, text, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text += written;
    size -= static_cast<size_t>(written);
  }
  return true;
}

// A line built without allocating, for signal handlers.
class FixedLine {
 public:
  FixedLine& add(const char* text) {
    while (*text != '\0' && size_ < sizeof(text_)) text_[size_++] = *text++;
    return *this;
  }
  FixedLine& add(uint64_t number) {
    char digits[21];
    size_t at = sizeof(digits) - 1;
    digits[at] = '\0';
    do {
      digits[--at] = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number > 0);
    return add(digits + at);
  }
  const char* text() const { return text_; }
  size_t size() const { return size_; }

 private:
  char text_[512];
  size_t size_ = 0;
};

FixedLine end_line(bool ok, int64_t time_ns, int64_t records, uint64_t bytes, uint32_t crc) {
  FixedLine line;
  line.add("{\"type\":\"end\",\"status\":\"").add(ok ? "ok" : "failed");
  line.add("\",\"time_ns\":").add(static_cast<uint64_t>(time_ns));
  line.add(",\"records\":").add(static_cast<uint64_t>(records));
  line.add(",\"bytes\":").add(bytes).add(",\"crc32\":").add(uint64_t{crc}).add("}\n");
  return line;
}

}  // namespace

RecordWriter::RecordWriter(const std::string& result_path)
    : result_path_(result_path),
      partial_path_(result_path + ".partial"),
      folder_(folder_of(result_path)) {
  file_ = open(partial_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file_ < 0) {
    throw StorageError("cannot create " + partial_path_ + ": " + std::strerror(errno));
  }
}

RecordWriter::~RecordWriter() {
  close(file_);
  if (!finished_) unlink(partial_path_.c_str());
}

void RecordWriter::append(const char* text, size_t size) {
  if (!write_all(file_, text, size)) {
    throw StorageError("cannot write " + partial_path_ + ": " + std::strerror(errno));
  }
}

void RecordWriter::write(const Json& record) {
  // Messages may quote anything; bytes that are not UTF-8 must not cost the record.
  const std::string line = record.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  append(line.data(), line.size());
  const int now = current_.load();
  const Committed& before = committed_[now];
  committed_[1 - now] = {before.bytes + line.size(), crc32(before.crc, line.data(), line.size()),
                         before.records + 1};
  current_.store(1 - now);
}

void RecordWriter::finish(bool ok, int64_t time_ns) {
  const Committed& all = committed_[current_.load()];
  const FixedLine line = end_line(ok, time_ns, all.records + 1, all.bytes, all.crc);
  append(line.text(), line.size());
  if (fsync(file_) != 0 || rename(partial_path_.c_str(), result_path_.c_str()) != 0) {
    throw StorageError("cannot finish " + result_path_ + ": " + std::strerror(errno));
  }
  finished_ = true;
  flush_folder(folder_.c_str());
}

void RecordWriter::finish_in_signal_handler(const char* signal_name, const char* phase,
                                            int64_t time_ns) {
  Committed all = committed_[current_.load()];
  FixedLine error;
  error.add("{\"type\":\"error\",\"kind\":\"signal\",\"phase\":\"").add(phase);
  error.add("\",\"message\":\"the runner was ended by ").add(signal_name).add("\"}\n");
  // The signal may have come in the middle of a line: drop what is not committed.
  if (ftruncate(file_, static_cast<off_t>(all.bytes)) != 0) return;
  lseek(file_, static_cast<off_t>(all.bytes), SEEK_SET);
  if (!write_all(file_, error.text(), error.size())) return;
  all = {all.bytes + error.size(), crc32(all.crc, error.text(), error.size()), all.records + 1};
  const FixedLine end = end_line(false, time_ns, all.records + 1, all.bytes, all.crc);
  if (!write_all(file_, end.text(), end.size()) || fsync(file_) != 0) return;
  if (rename(partial_path_.c_str(), result_path_.c_str()) == 0) flush_folder(folder_.c_str());
}

uint32_t crc32(uint32_t crc, const char* bytes, size_t size) {
  crc = ~crc;
  for (size_t i = 0; i < size; ++i) {
    crc = kCrcTable[(crc ^ static_cast<unsigned char>(bytes[i])) & 0xFF] ^ (crc >> 8);
  }
  return ~crc;
}

std::string base64(const unsigned char* bytes, size_t size) {
  static const char kAlphabet[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((size + 2) / 3 * 4);
  for (size_t i = 0; i < size; i += 3) {
    const size_t left = size - i;
    const uint32_t group = (uint32_t{bytes[i]} << 16) |
                           (left > 1 ? uint32_t{bytes[i + 1]} << 8 : 0) |
                           (left > 2 ? uint32_t{bytes[i + 2]} : 0);
    text += kAlphabet[group >> 18];
    text += kAlphabet[(group >> 12) & 63];
    text += left > 1 ? kAlphabet[(group >> 6) & 63] : '=';
    text += left > 2 ? kAlphabet[group & 63] : '=';
  }
  return text;
}

Json error_record(const char* kind, const std::string& phase, const std::string& message) {
  return {{"type", "error"}, {"kind", kind}, {"phase", phase}, {"message", message}};
}

Json output_record(int sample, int index, const HostTensor& tensor) {
  return {{"type", "output"},      {"sample", sample},
          {"index", index},        {"dtype", dtype_name(tensor.dtype)},
          {"shape", tensor.shape}, {"base64", base64(tensor.bytes.data(), tensor.bytes.size())}};
}

}  // namespace phonebench
