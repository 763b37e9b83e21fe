#include "tests/chaos/desktop.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

namespace roamstead::chaos {
namespace {

using namespace std::chrono_literals;

profile::ProfilePath path_of(const std::string& text) { return profile::ProfilePath::parse(text).value(); }

// A batch and the content that goes with it.
struct Change final : profile::ContentSource {
  profile::Batch batch;
  std::map<std::size_t, std::string> contents;  // by record

  void put(const std::string& path, const std::string& content) {
    profile::Put put;
    put.path = path_of(path);
    put.entry.size_bytes = content.size();
    profile::StreamContent stream{"", content.size(), {}};
    if (!content.empty()) stream.writes.push_back({0, content.size()});
    put.contents.push_back(stream);
    contents[batch.records.size()] = content;
    batch.records.push_back(put);
  }
  Result<void> read(std::size_t record, std::size_t, std::uint64_t offset, MutableByteView out) override {
    const auto& content = contents.at(record);
    std::memcpy(out.data(), content.data() + offset, out.size());
    return {};
  }
};

bool may_pass(const Error& error) {
  return error.code == ErrorCode::unavailable || error.code == ErrorCode::timeout ||
         error.code == ErrorCode::busy;
}

}  // namespace

Desktop::Desktop(std::string name, wire::TlsLinkOptions options, std::vector<std::string> profiles,
                 std::uint64_t seed, ProfileStates& states, Counts& counts)
    : name_(std::move(name)),
      options_(std::move(options)),
      profiles_(std::move(profiles)),
      random_(seed),
      states_(states),
      counts_(counts) {
  connect();
}

void Desktop::connect() {
  link_.reset();
  wanted_ = std::make_shared<std::atomic<bool>>(false);
  link_ = wire::TlsLink::create(options_).value();
  link_->set_push_listener([wanted = wanted_](const wire::Push& push) {
    if (push.kind == wire::PushKind::flush) *wanted = true;
  });
}

void Desktop::pause(std::size_t most_ms) {
  std::this_thread::sleep_for(std::chrono::milliseconds(below(most_ms + 1)));
}

void Desktop::run(Clock::time_point until) {
  while (Clock::now() < until) {
    if (!open(until)) continue;
    if (work(until) == End::gone) {
      ++counts_.vanished;
      connect();
    }
    pause(200);
  }
}

bool Desktop::open(Clock::time_point until) {
  profile_ = profiles_[below(profiles_.size())];
  *wanted_ = false;
  auto opened = link_->open({profile_, "Users/" + profile_, {}});
  if (!opened) {
    if (!may_pass(opened.error()) && opened.error().code != ErrorCode::stale)
      throw Broken(name_ + ": open '" + profile_ + "': " + opened.error().to_string());
    ++counts_.refused;
    if (Clock::now() < until) pause(300);
    return false;
  }
  session_ = std::move(*opened);
  ordinal_ = 0;
  forked_ = !session_.may_save;
  ++counts_.sessions;
  for (;;) {
    auto stamp = link_->read(session_.session_secret, path_of(kStamp), "", 0, 1000);
    if (stamp) {
      pinned_ = content_ = *states_.find(profile_, std::string(as_text(*stamp)));
      return true;
    }
    if (stamp.error().code == ErrorCode::stale) return false;  // taken over in the meantime
    if (!may_pass(stamp.error()))
      throw Broken(name_ + ": stamp of '" + profile_ + "': " + stamp.error().to_string());
  }
}

Desktop::End Desktop::work(Clock::time_point until) {
  bool deaf = false;
  for (std::size_t left = 1 + below(12); left > 0 && Clock::now() < until; --left) {
    if (*wanted_ && !deaf) {
      if (chance(80)) {
        auto done = link_->hand_over(session_.session_secret);
        if (done) ++counts_.hand_overs;
        if (!done && !may_pass(done.error()) && done.error().code != ErrorCode::stale)
          throw Broken(name_ + ": hand-over: " + done.error().to_string());
        return End::closed;
      }
      deaf = true;
      ++counts_.ignored_pushes;
    }
    const auto what = below(100);
    if (what < 70) {
      if (!commit()) return End::gone;
    } else if (what < 80) {
      verify_pinned();
    } else if (what < 90) {
      if (!resume(what == 89)) return End::closed;
    } else if (what < 93) {
      return End::gone;
    }
    pause(deaf ? 600 : 120);
  }
  if (chance(15)) return End::gone;
  auto closed = link_->close(session_.session_secret);
  if (!closed && !may_pass(closed.error()) && closed.error().code != ErrorCode::stale)
    throw Broken(name_ + ": close: " + closed.error().to_string());
  return End::closed;
}

void Desktop::verify_pinned() {
  auto it = pinned_.begin();
  std::advance(it, static_cast<std::ptrdiff_t>(below(pinned_.size())));
  auto read = link_->read(session_.session_secret, path_of(it->first), "", 0, wire::kMaxReadBytes);
  if (!read && (may_pass(read.error()) || read.error().code == ErrorCode::stale)) return;
  if (!read) throw Broken(name_ + ": read '" + it->first + "': " + read.error().to_string());
  if (as_text(*read) != it->second)
    throw Broken(fmt::format("{}: '{}' of '{}' version {} is not what was saved", name_, it->first, profile_,
                             session_.version));
  ++counts_.verified;
}

// False when the session is over.
bool Desktop::commit() {
  Change change;
  auto next = content_;
  const auto stamp = fmt::format("{} {}", name_, ++attempts_);
  next[kStamp] = stamp;
  change.put(kStamp, stamp);
  std::vector<std::string> touched{kStamp};
  auto untouched = [&](const std::string& path) {
    if (std::find(touched.begin(), touched.end(), path) != touched.end()) return false;
    touched.push_back(path);
    return true;
  };
  for (std::size_t left = below(5); left > 0; --left) {
    const auto path = fmt::format("d{}/f{}", below(3), below(12));
    if (!untouched(path)) continue;
    const bool there = content_.count(path) != 0;
    const auto what = below(10);
    if (there && what < 2) {
      change.batch.records.push_back(profile::Delete{path_of(path)});
      next.erase(path);
    } else if (there && what < 4) {
      const auto target = fmt::format("d{}/f{}", below(3), below(12));
      if (content_.count(target) != 0 || !untouched(target)) continue;
      change.batch.records.push_back(profile::Move{path_of(path), path_of(target)});
      next[target] = next[path];
      next.erase(path);
    } else {
      std::string content(chance(10) ? below(300'000) : below(3000), '\0');
      for (auto& c : content) c = static_cast<char>(random_());
      change.put(path, content);
      next[path] = content;
    }
  }
  change.batch.incarnation = session_.incarnation;
  change.batch.ordinal = ++ordinal_;
  change.batch.snapshot = Guid::random();
  states_.add(profile_, next);
  for (;;) {
    auto reply = link_->commit(session_.session_secret, change.batch, change);
    if (reply) {
      if (forked_ && !reply->forked)
        throw Broken(name_ + ": a session whose batches are forks moved the head of '" + profile_ + "'");
      forked_ = reply->forked;
      if (forked_) ++counts_.forks;
      ++counts_.batches;
      states_.acknowledge({profile_, reply->version, reply->forked, stamp});
      content_ = std::move(next);
      return true;
    }
    if (!may_pass(reply.error())) throw Broken(name_ + ": commit: " + reply.error().to_string());
  }
}

// False when the session is over. `reverted`: as a machine set back to before its last batches.
bool Desktop::resume(bool reverted) {
  if (ordinal_ == 0) reverted = false;
  connect();
  const wire::ResumeInfo info{session_.session_secret, session_.incarnation,
                              reverted ? ordinal_ - 1 : ordinal_};
  for (;;) {
    auto opened = link_->open({profile_, "Users/" + profile_, info});
    if (opened && reverted) throw Broken(name_ + ": a state from the past was resumed");
    if (!opened) {
      if (may_pass(opened.error())) continue;
      if (opened.error().code != ErrorCode::stale && opened.error().code != ErrorCode::denied)
        throw Broken(name_ + ": resume: " + opened.error().to_string());
      ++(reverted ? counts_.reverted : counts_.refused);
      return false;
    }
    if (opened->committed_ordinal != ordinal_)
      throw Broken(fmt::format("{}: resumed after batch {}, {} was acknowledged", name_,
                               opened->committed_ordinal, ordinal_));
    session_ = std::move(*opened);
    ordinal_ = 0;
    ++counts_.resumes;
    return true;
  }
}

}  // namespace roamstead::chaos
