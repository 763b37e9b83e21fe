// What programs' accesses mean to the loader: "a program is about to do this to that name" becomes
// directories populated, content loaded, keys loaded; then the state map says so, and the program goes on.
// The system-dependent half (agent/hook, agent/win/pipe_server) only carries the question.
//
// Two laws: what the version lists is never reported as not found (where it cannot be brought the answer is
// an error worth another attempt, intercept_protocol.h), and nothing is saved that was not loaded or created
// here (whoever may write to a file gets it loaded first, its tags recorded).
//
// Names are relative to the user's own roots, so there is no way to name something else. "." and ".." are
// refused. Links on the way are followed if the profile brought them and they lead into the profile;
// those that programs made are left to the volume: behind them nothing is looked for, and what other names
// lead to is brought by those names, or by filling.
//
// Thread-safe. One rename at a time per caller (`Caller`).
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "agent/core/intercept_protocol.h"
#include "agent/core/loader.h"
#include "agent/core/state_map_writer.h"

namespace roamstead::agent {

// A question, checked and with its names as views into the message.
struct InterceptRequest {
  intercept::Op op = intercept::Op::hello;
  std::uint16_t flags = 0;
  std::uint32_t root = 0, second_root = 0;
  std::uint32_t sequence = 0;
  std::u16string_view name, second;
  std::uint64_t value = 0;
};
// Of hostile bytes, which must be aligned to 8 and outlive the result. ErrorCode::protocol.
Result<InterceptRequest> parse_request(ByteView message);
Bytes encode_request(const InterceptRequest& request);

struct InterceptionConfig {
  std::string profile_root;  // on the volume: "Users/alice"
  // Root 0 is the profile's directory. Others are keys: a hive and where in it.
  struct KeyRoot {
    profile::ProfilePath hive;
    profile::KeyPath key;
  };
  std::map<std::uint32_t, KeyRoot> key_roots;
  // Keys that are links to another root: on Windows "Software\\Classes" to the user's classes.
  struct KeyLink {
    std::uint32_t root = 0;
    profile::KeyPath at;
    std::uint32_t to = 0;
  };
  std::vector<KeyLink> key_links;
  std::uint64_t most_image_bytes = 256u << 20;  // of a program's folder, loaded before it is started
  std::function<void()> note_change;            // a program changes something
  // A program asked for a key that the profile has.
  std::function<void(const profile::ProfilePath& hive, const profile::KeyPath& key)> note_key;
  std::shared_ptr<void> keep;  // what must live as long as this does
};

struct InterceptionCounters {
  std::atomic<std::uint64_t> questions{0}, loaded_files{0}, loaded_keys{0}, retries{0}, failures{0};
};

class Interception {
 public:
  // One that asks: a connection. What it began and did not end ends with it.
  class Caller {
   public:
    explicit Caller(Interception& interception) : interception_(interception) {}
    ~Caller() { interception_.end_rename(*this); }
    Caller(const Caller&) = delete;
    Caller& operator=(const Caller&) = delete;
    // A program that is to get names but no content (a search indexer, say); law 1 holds for it by refusal.
    bool never_loads = false;

   private:
    friend class Interception;
    Interception& interception_;
    bool renaming_ = false;
  };

  Interception(Loader& loader, ProfileVolume& volume, StateMapWriter& map, InterceptionConfig config);

  // What the program is told: intercept::Status. May take as long as the loader's patience, and more where
  // much is loaded.
  std::uint32_t answer(Caller& caller, const InterceptRequest& request);

  // Whoever asks from now on is told to try again later; returns when no answer is under way. Loader and
  // volume may go then; the map must still outlive this.
  void close();

  // All writers ask again: note_change() is called for changes after this.
  void forget_writers() { map_.forget(state_map::kRecorded); }
  // While it is so, programs are told that the profile is write-protected.
  void set_read_only(bool read_only) { map_.set_flag(state_map::kReadOnly, read_only); }

  const InterceptionCounters& counters() const { return counters_; }
  std::uint64_t instance() const { return map_.instance(); }

 private:
  struct Found;
  class Answering;

  Result<std::uint32_t> handle(Caller& caller, const InterceptRequest& request);
  Result<void> files(const InterceptRequest& request);
  Result<void> keys(const InterceptRequest& request);
  Result<void> load_key(const InterceptionConfig::KeyRoot& root, const profile::KeyPath& below, bool subtree);
  // Populates all above, follows links, and says what is there.
  Result<Found> resolve(std::u16string_view name, bool link_itself);
  Result<std::unique_ptr<VolumeHandle>> open(const Found& found, const std::string& stream);
  Result<void> load(const Found& found, std::u16string_view name, bool to_write);
  Result<void> load_streams(const Found& found);
  Result<std::uint32_t> rename(Caller& caller, const InterceptRequest& request);
  std::string_view in_profile(const std::string& path) const {
    return std::string_view(path).substr(std::min(path.size(), config_.profile_root.size() + 1));
  }
  void end_rename(Caller& caller);
  Result<void> leave(const Found& found);
  Result<void> start_image(Found found, std::u16string_view name);
  void note_change() const {
    if (config_.note_change) config_.note_change();
  }

  Loader& loader_;
  ProfileVolume& volume_;
  StateMapWriter& map_;
  const InterceptionConfig config_;
  InterceptionCounters counters_;
  std::atomic<std::int64_t> logged_at_{-1};  // a message a second

  std::mutex mutex_;  // guards what follows
  std::condition_variable idle_;
  unsigned answering_ = 0;
  bool closed_ = false;
};

// The status that stands for an error.
std::uint32_t status_of(const Error& error);

}  // namespace roamstead::agent
