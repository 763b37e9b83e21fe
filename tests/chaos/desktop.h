// A simulated desktop: logs in and out, saves, reads, loses its connection, vanishes, comes back from the
// past, hands over or does not, all as a seed says. No disk and no agent: it speaks the protocol through the
// agents' own link, and keeps in memory what its profile has to be.
#pragma once

#include <atomic>
#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "common/wire/tls_link.h"
#include "tests/chaos/profile_states.h"

namespace roamstead::chaos {

struct Counts {
  std::atomic<int> sessions{0}, batches{0}, forks{0}, hand_overs{0}, ignored_pushes{0}, resumes{0},
      vanished{0}, reverted{0}, refused{0}, verified{0};
};

class Desktop {
 public:
  using Clock = std::chrono::steady_clock;

  // `options` says where the coordinator always listens, however often it is killed.
  Desktop(std::string name, wire::TlsLinkOptions options, std::vector<std::string> profiles,
          std::uint64_t seed, ProfileStates& states, Counts& counts);

  // Until then; what it has not been answered by then it goes on sending. Throws Broken.
  void run(Clock::time_point until);

 private:
  enum class End { closed, gone };

  void connect();
  bool open(Clock::time_point until);
  End work(Clock::time_point until);
  void verify_pinned();
  bool commit();
  bool resume(bool reverted);
  bool chance(int percent) { return static_cast<int>(random_() % 100) < percent; }
  std::size_t below(std::size_t limit) { return random_() % limit; }
  void pause(std::size_t most_ms);

  const std::string name_;
  const wire::TlsLinkOptions options_;
  const std::vector<std::string> profiles_;
  std::mt19937_64 random_;
  ProfileStates& states_;
  Counts& counts_;
  std::unique_ptr<wire::TlsLink> link_;
  std::shared_ptr<std::atomic<bool>> wanted_;  // elsewhere: set on the link's thread

  // Of the session:
  std::string profile_;
  wire::OpenReply session_;
  Content pinned_;
  Content content_;
  std::uint64_t ordinal_ = 0;
  bool forked_ = false;
  std::uint64_t attempts_ = 0;
};

}  // namespace roamstead::chaos
