// Loads in the background what nobody has touched yet.
#pragma once

#include <atomic>
#include <string>

#include "agent/core/loader.h"
#include "agent/core/system_load.h"
#include "agent/core/worker.h"

namespace roamstead::agent {

enum class FillLevel { none, metadata, all };
Result<FillLevel> parse_fill_level(const std::string& text);

struct FillProgress {
  FillLevel level = FillLevel::none;
  std::uint64_t directories = 0;  // looked into in the present pass
  std::uint64_t files = 0;
  std::uint64_t loaded_bytes = 0;  // by filling; of files
  bool complete = false;
  std::string paused;  // why nothing is loaded just now: "by request", "load: disk" …; "": it is
  std::string last_error;
};

// The registry comes first: programs wait for it most. Then come the folders that rules name for the
// background, in their order. Then it walks the volume's profile, so that it meets everything wherever
// programs moved it; gives way to programs that wait, pauses while the machine is busy
// (system_load.h), and keeps to a rate. A pass in which something failed
// or moved is repeated. What rules want loaded on demand only is left alone. Thread-safe.
class Fill {
 public:
  // `load` may be null: then the machine's load is no matter.
  Fill(Loader& loader, ProfileVolume& volume, std::string profile_root, std::uint64_t bytes_per_second,
       std::shared_ptr<LoadPort> load = nullptr)
      : loader_(loader),
        volume_(volume),
        root_(std::move(profile_root)),
        bytes_per_second_(bytes_per_second),
        load_(std::move(load)) {}
  ~Fill() { stop(); }

  void start(FillLevel level);  // also raises the level of a fill that runs
  void stop() { worker_.stop(); }
  void pause(bool paused) { paused_ = paused; }
  void set_rate(std::uint64_t bytes_per_second) { bytes_per_second_ = bytes_per_second; }
  FillProgress progress() const;
  // False when the time is over first, or nothing is to be filled.
  bool wait(std::chrono::milliseconds patience);

 private:
  void run();
  bool pass(FillLevel level);
  Result<void> fill_registry();
  void add_named(std::vector<std::string>& directories);
  std::string_view in_profile(const std::string& path) const {
    return std::string_view(path).substr(std::min(path.size(), root_.size() + 1));
  }
  void keep_rate(std::uint64_t bytes);
  Result<void> visit_directory(const std::string& path, std::vector<std::string>& directories,
                               FillLevel level);
  Result<void> visit_file(const std::string& path, std::uint64_t record);
  bool give_way();
  bool is_machine_busy();
  void note_pause(const char* why);
  void note_error(const Error& error);

  Loader& loader_;
  ProfileVolume& volume_;
  const std::string root_;
  std::atomic<std::uint64_t> bytes_per_second_;  // 0: no limit
  std::atomic<bool> paused_{false};
  const std::shared_ptr<LoadPort> load_;  // shared with whoever made it, and keeps none of it
  LoadJudge judge_;                       // as what follows the worker's
  LoadReason load_reason_ = LoadReason::none;
  Activity::Clock::time_point look_at_load_{};
  Activity::Clock::time_point earliest_{};  // of the next load, to keep the rate; the worker's

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  FillProgress progress_;
  bool running_ = false;
  Worker worker_;
};

}  // namespace roamstead::agent
