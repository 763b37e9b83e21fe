#include "coordinator/server/session_table.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <thread>

#include "common/base/event.h"
#include "common/base/file_time.h"

namespace roamstead::server {
namespace {

constexpr std::size_t kListNames = 512;
// Read at once: an entry with many streams has megabytes, and a directory may be full of them.
constexpr std::size_t kListStep = 32;
// Encoded entries of one list reply; well below the frame's limit, as the last entry may go beyond.
constexpr std::size_t kListBytes = 512u << 10;
constexpr std::size_t kKeysBytes = 256u << 10;  // the same for keys
constexpr std::size_t kMaxCursorBytes = 512u << 10;
constexpr std::chrono::minutes kKeepEndedSessions{10};
constexpr std::chrono::milliseconds kLookAgain{3};

}  // namespace

SessionTable::Digest SessionTable::digest_of(const Guid& secret) {
  Digest digest(SHA256_DIGEST_LENGTH);
  SHA256(reinterpret_cast<const unsigned char*>(secret.bytes.data()), secret.bytes.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}

Result<std::unique_ptr<SessionTable>> SessionTable::create(StateStore& store,
                                                           repository::Repository& repository,
                                                           SessionOptions options, Faults faults) {
  if (!options.policy_of) options.policy_of = [](const std::string&) { return SessionPolicy::takeover; };
  std::unique_ptr<SessionTable> table(
      new SessionTable(store, repository, std::move(options), std::move(faults)));
  if (!table->options_.working_set_directory.empty()) {
    RS_TRY(table->working_sets_,
           WorkingSetStore::open(os::real_file_system(), table->options_.working_set_directory));
  }
  RS_TRY(auto rows, store.sessions(true));
  for (const auto& row : rows) {
    auto session = table->remember(row);
    // One profile that cannot be read must not keep the others out.
    if (!session)
      log_event(Event::session_not_restored, "session {} of '{}' cannot be restored: {}", row.id.to_string(),
                row.profile_name, session.error().to_string());
    else
      log_info("session {} of '{}' on '{}' goes on", row.id.to_string(), row.profile_name, row.desktop);
  }
  return table;
}

Result<std::shared_ptr<Session>> SessionTable::remember(const SessionRow& row) {
  RS_TRY_CTX(auto session, "session " + row.id.to_string(), restore_session(row, store_, repository_));
  session->lease_until = options_.now();
  if (row.state == SessionState::active) session->lease_until += lease_.load();
  std::lock_guard guard(mutex_);
  auto [it, added] = by_digest_.emplace(row.secret_digest, session);
  if (added) digests_[row.id] = row.secret_digest;
  if (added && row.state == SessionState::active) active_[row.profile].push_back(session);
  return it->second;
}

SessionState SessionTable::state_of(const Session& session) {
  std::lock_guard guard(mutex_);
  return session.row.state;
}

// The secret is looked up by its digest, so the time the search takes says nothing about secrets near to it;
// the digest found is then compared in constant time.
Result<std::shared_ptr<Session>> SessionTable::authorise(const std::string& desktop, const Guid& secret) {
  auto digest = digest_of(secret);
  std::shared_ptr<Session> session;
  {
    std::lock_guard guard(mutex_);
    if (auto it = by_digest_.find(digest); it != by_digest_.end()) session = it->second;
  }
  if (!session) {
    RS_TRY(auto row, store_.find_session_by_digest(digest));
    if (!row) return fail(ErrorCode::denied, "no such session");
    RS_TRY(session, remember(*row));
  }
  if (CRYPTO_memcmp(session->row.secret_digest.data(), digest.data(), digest.size()) != 0)
    return fail(ErrorCode::denied, "no such session");
  if (session->row.desktop != desktop) {
    log_event(Event::foreign_secret,
              "desktop '{}' used the secret of session {}, which belongs to desktop '{}': denied", desktop,
              session->row.id.to_string(), session->row.desktop);
    return fail(ErrorCode::denied, "no such session");
  }
  std::lock_guard guard(mutex_);
  if (session->row.state != SessionState::active) return session;
  session->lease_until = options_.now() + lease_.load();
  if (std::exchange(session->vanished, false))
    log_info("session {} of '{}': desktop '{}' is heard of again", session->row.id.to_string(),
             session->row.profile_name, desktop);
  return session;
}

Result<std::shared_ptr<Session>> SessionTable::authorise_active(const std::string& desktop,
                                                                const Guid& secret) {
  RS_TRY(auto session, authorise(desktop, secret));
  RS_CHECK(check_active(*session));
  return session;
}

Result<void> SessionTable::check_active(const Session& session) {
  switch (state_of(session)) {
    case SessionState::active:
      return {};
    case SessionState::closed:
      return fail(ErrorCode::denied, "the session is closed");
    case SessionState::superseded:
      break;
  }
  return fail(ErrorCode::stale,
              "the session is superseded: profile '" + session.row.profile_name + "' was handed over");
}

Result<std::shared_ptr<const repository::Tree>> SessionTable::tree_of(Session& session) {
  {
    std::lock_guard guard(mutex_);
    if (session.tree) return session.tree;
  }
  RS_TRY(auto tree, repository_.tree(session.row.profile, session.row.version));
  std::lock_guard guard(mutex_);
  if (!session.tree) session.tree = std::move(tree);
  return session.tree;
}

namespace {

Result<wire::DirectoryPart> list_part(const repository::Tree& tree, const profile::ProfilePath& path,
                                      std::string after) {
  wire::DirectoryPart part;
  part.more = true;
  for (std::size_t bytes = 0; part.entries.size() < kListNames;) {
    RS_TRY(auto entries, tree.list(path, after, kListStep));
    for (auto& entry : entries) {
      bytes += wire::encode_message(entry).size();
      if (bytes > kListBytes && !part.entries.empty()) return part;
      after = entry.name;
      part.entries.push_back(std::move(entry));
    }
    part.more = entries.size() == kListStep;
    if (!part.more) return part;
  }
  return part;
}

Result<wire::Fetched> fetch_one(const repository::Tree& tree, const wire::FetchItem& item) {
  wire::Fetched fetched;
  RS_TRY(auto entry, tree.lookup(item.path));
  if (item.directory) {
    if (!entry.is_directory()) return fetched;
    RS_TRY(fetched.part, list_part(tree, item.path, ""));
    fetched.kind = wire::Fetched::Kind::directory;
    return fetched;
  }
  if (entry.kind != profile::EntryKind::file) return fetched;
  fetched.size_bytes = entry.size_bytes;
  fetched.content.resize(
      static_cast<std::size_t>(std::min<std::uint64_t>(entry.size_bytes, wire::kFetchFileBytes)));
  if (!fetched.content.empty()) RS_CHECK(tree.read(item.path, "", 0, fetched.content));
  fetched.kind = wire::Fetched::Kind::file;
  return fetched;
}

}  // namespace

Result<wire::DirectoryPart> SessionTable::list(const std::string& desktop, const wire::ListRequest& request) {
  RS_TRY(auto session, authorise_active(desktop, request.session_secret));
  RS_TRY(auto tree, tree_of(*session));
  return list_part(*tree, request.path, request.after);
}

Result<Bytes> SessionTable::read(const std::string& desktop, const wire::ReadRequest& request) {
  RS_TRY(auto session, authorise_active(desktop, request.session_secret));
  if (request.length > wire::kMaxReadBytes)
    return fail(ErrorCode::protocol, "a read of " + std::to_string(request.length) + " bytes, at most " +
                                         std::to_string(wire::kMaxReadBytes) + " are allowed");
  RS_TRY(auto tree, tree_of(*session));
  RS_TRY(auto entry, tree->lookup(request.path));
  auto size = entry.size_bytes;
  if (!request.stream.empty()) {
    auto found = std::find_if(entry.streams.begin(), entry.streams.end(),
                              [&](const profile::Stream& stream) { return stream.name == request.stream; });
    if (found == entry.streams.end())
      return fail(ErrorCode::not_found,
                  "'" + request.path.text() + "' has no stream '" + request.stream + "'");
    size = found->size_bytes;
  }
  if (request.offset >= size) return Bytes();
  Bytes content(static_cast<std::size_t>(std::min<std::uint64_t>(request.length, size - request.offset)));
  RS_CHECK(tree->read(request.path, request.stream, request.offset, content));
  return content;
}

Result<wire::FetchReply> SessionTable::fetch(const std::string& desktop, const wire::FetchRequest& request) {
  RS_TRY(auto session, authorise_active(desktop, request.session_secret));
  if (request.items.empty() || request.items.size() > wire::kMostFetchItems)
    return fail(ErrorCode::protocol, "a fetch of " + std::to_string(request.items.size()) + " items, 1 to " +
                                         std::to_string(wire::kMostFetchItems) + " are allowed");
  RS_TRY(auto tree, tree_of(*session));
  wire::FetchReply reply;
  for (std::size_t bytes = 0; bytes < wire::kFetchReplyBytes && reply.items.size() < request.items.size();) {
    const auto& item = request.items[reply.items.size()];
    auto fetched = fetch_one(*tree, item);
    // One that is broken does not keep the others: its error is for who reads it by itself.
    reply.items.push_back(fetched ? std::move(*fetched) : wire::Fetched{});
    bytes += wire::encode_message(reply.items.back()).size();
  }
  return reply;
}

Result<profile::KeyStates> SessionTable::keys(const std::string& desktop, const wire::KeysRequest& request) {
  RS_TRY(auto session, authorise_active(desktop, request.session_secret));
  if (request.scope > static_cast<std::uint8_t>(profile::KeyScope::subtree_if_small))
    return fail(ErrorCode::protocol, "keys: unknown scope " + std::to_string(request.scope));
  if (request.cursor.size() > kMaxCursorBytes)
    return fail(ErrorCode::protocol,
                "keys: a cursor of " + std::to_string(request.cursor.size()) + " bytes, none was given out");
  RS_TRY(auto tree, tree_of(*session));
  RS_TRY(auto part, tree->keys(request.hive, request.key, static_cast<profile::KeyScope>(request.scope),
                               request.cursor, kKeysBytes));
  // One key alone may have more values than a frame has room for: their data is asked for one by one then.
  for (auto& key : part.keys) {
    std::size_t bytes = 0;
    for (const auto& value : key.values) bytes += value.data.size();
    if (bytes <= kKeysBytes) continue;
    for (auto& value : key.values) value.data = {};
  }
  return part;
}

Result<Bytes> SessionTable::read_value(const std::string& desktop, const wire::ValueRequest& request) {
  RS_TRY(auto session, authorise_active(desktop, request.session_secret));
  if (request.length > wire::kMaxReadBytes)
    return fail(ErrorCode::protocol, "a read of " + std::to_string(request.length) +
                                         " bytes of a value, at most " + std::to_string(wire::kMaxReadBytes) +
                                         " are allowed");
  RS_TRY(auto tree, tree_of(*session));
  Bytes content(request.length);
  RS_CHECK(tree->read_value(request.hive, request.key, request.value, request.offset, content));
  return content;
}

Result<void> SessionTable::learned(const std::string& desktop, const wire::LearnedRequest& request) {
  RS_TRY(auto session, authorise(desktop, request.session_secret));
  if (!working_sets_) return wire::check_working_set(request.items);
  return working_sets_->learn(session->row.profile, request.items);
}

Result<void> SessionTable::renew(const std::string& desktop, const Guid& secret) {
  RS_TRY(auto session, authorise_active(desktop, secret));
  return {};
}

Result<void> SessionTable::note_use(const std::string& desktop, const wire::UseRequest& request) {
  if (request.use > static_cast<std::uint8_t>(wire::kLastSessionUse))
    return fail(ErrorCode::protocol, "a session used for " + std::to_string(request.use));
  RS_TRY(auto session, authorise_active(desktop, request.session_secret));
  const auto use = static_cast<wire::SessionUse>(request.use);
  std::lock_guard guard(mutex_);
  if (std::exchange(session->use, use) != use)
    log_info("session {}: desktop '{}' says of '{}': {}", session->row.id.to_string(), desktop,
             session->row.profile_name, wire::to_string(use));
  return {};
}

SessionTable::Sessions SessionTable::active_of(const repository::ProfileId& profile) {
  std::lock_guard guard(mutex_);
  auto it = active_.find(profile);
  return it == active_.end() ? Sessions() : it->second;
}

Result<std::unique_lock<std::timed_mutex>> SessionTable::lock_for_hand_over(Session& session) {
  std::unique_lock lock(session.commit_mutex, std::defer_lock);
  // Asked again and again: a wait by the system's clock could take as long as that is set back, and one by
  // the steady clock (pthread_mutex_clocklock) ThreadSanitizer does not know and sees an unlock too many.
  const auto deadline = Session::Clock::now() + hand_over_wait_.load();
  while (!lock.try_lock()) {
    if (Session::Clock::now() >= deadline)
      return fail(ErrorCode::busy,
                  "a batch of session " + session.row.id.to_string() + " is just being committed; try again");
    std::this_thread::sleep_for(kLookAgain);
  }
  return lock;
}

std::vector<std::function<void()>> SessionTable::note_end(Session& session, SessionState state,
                                                          std::uint64_t now) {
  session.row.state = state;
  session.row.ended_100ns = now;
  session.tree.reset();
  std::vector<std::function<void()>> waiting;
  if (session.hand_over) waiting.swap(session.hand_over->waiting);
  session.hand_over.reset();
  if (auto it = active_.find(session.row.profile); it != active_.end()) {
    std::erase_if(it->second, [&](const auto& each) { return each.get() == &session; });
    if (it->second.empty()) active_.erase(it);
  }
  return waiting;
}

Result<void> SessionTable::end(Session& session, SessionState state) {
  auto now = now_100ns();
  RS_CHECK(store_.end_session(session.row.id, state, now));
  std::unique_lock lock(mutex_);
  auto waiting = note_end(session, state, now);
  lock.unlock();
  for (const auto& wake : waiting) wake();
  return {};
}

Result<void> SessionTable::close(const std::string& desktop, const Guid& secret) {
  RS_TRY(auto session, authorise(desktop, secret));
  RS_TRY(auto lock, lock_for_hand_over(*session));
  if (state_of(*session) != SessionState::active) return {};
  RS_CHECK(end(*session, SessionState::closed));
  record_end(*session, "session.close", "");
  log_info("session {} of '{}' on '{}' closed", session->row.id.to_string(), session->row.profile_name,
           desktop);
  return {};
}

SessionTable::Counts SessionTable::counts() {
  std::lock_guard guard(mutex_);
  const auto now = options_.now();
  Counts counts;
  for (const auto& [profile, sessions] : active_)
    for (const auto& session : sessions) {
      ++counts.active;
      if (session->lease_until < now) ++counts.silent;
      if (session->over_quota) ++counts.over_quota;
    }
  return counts;
}

void SessionTable::forget_old_sessions() {
  std::lock_guard guard(mutex_);
  const auto now = options_.now();
  if (now < next_forgetting_) return;  // it looks at all there are
  next_forgetting_ = now + kKeepEndedSessions / 60;
  auto before = now - kKeepEndedSessions;
  for (auto it = by_digest_.begin(); it != by_digest_.end();) {
    // Those still needed are restored from the store. The count tells that no call holds this one just now.
    bool old = it->second->row.state != SessionState::active && it->second->lease_until < before &&
               it->second.use_count() == 1;
    if (old) digests_.erase(it->second->row.id);
    it = old ? by_digest_.erase(it) : std::next(it);
  }
}

}  // namespace roamstead::server
