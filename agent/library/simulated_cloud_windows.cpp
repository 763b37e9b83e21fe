#include "agent/library/simulated_cloud_windows.h"

#include "agent/library/library_profile_volume.h"

namespace roamstead::agent {

using ntfs3g::FileReference;
using profile::ProfilePath;

namespace {

constexpr std::uint64_t kRecordBits = (std::uint64_t{1} << 48) - 1;

FileReference reference_of(FileNumber file) {
  return {file & kRecordBits, static_cast<std::uint16_t>(file >> 48)};
}
FileNumber number_of(FileReference reference) {
  return reference.record | FileNumber{reference.sequence} << 48;
}

}  // namespace

CloudCallbacks* SimulatedCloudWindows::provider_of(const ProfilePath& path) {
  for (const auto& [root, callbacks] : connected_)
    if (path.is_within(root)) return callbacks;
  return nullptr;
}

SimulatedCloudWindows::Pending* SimulatedCloudWindows::alive(CloudRequestId id) {
  const auto found = pending_.find(id);
  if (found == pending_.end() || found->second->done || found->second->cancelled) return nullptr;
  return found->second;
}

// Waits for the answer, as Windows makes a program wait.
Result<void> SimulatedCloudWindows::ask(CloudRequest request, Pending& answer) {
  CloudCallbacks* provider = nullptr;
  {
    std::lock_guard lock(mutex_);
    provider = provider_of(request.item.path);
    if (provider == nullptr) return fail(ErrorCode::unavailable, "the cloud file provider is not running");
    request.id = ++last_id_;
    answer.request = request;
    pending_[request.id] = &answer;
    touch();
  }
  provider->on_request(request);
  std::unique_lock lock(mutex_);
  while (!answer.done && !answer.cancelled) {
    if (connected_.empty() || (changed_.wait_until(lock, last_ + limit) == std::cv_status::timeout &&
                               std::chrono::steady_clock::now() >= last_ + limit)) {
      pending_.erase(request.id);
      return fail(ErrorCode::timeout, "the cloud file provider does not answer");
    }
  }
  pending_.erase(request.id);
  if (answer.cancelled) return fail(ErrorCode::cancelled, "cancelled");
  if (answer.refused)
    return fail(answer.retryable ? ErrorCode::unavailable : ErrorCode::corrupt, "the provider refused");
  return {};
}

void SimulatedCloudWindows::tell(CloudRequest request) {
  std::lock_guard lock(mutex_);  // not to be disconnected meanwhile; the provider only takes note
  if (auto* provider = provider_of(request.item.path)) provider->on_request(request);
}

Result<std::string> SimulatedCloudWindows::path_of(FileNumber file) {
  std::vector<std::string> directories;
  {
    std::lock_guard lock(mutex_);
    for (const auto& root : registered_) directories.push_back(root.text());
  }
  while (!directories.empty()) {
    const auto directory = std::move(directories.back());
    directories.pop_back();
    RS_TRY(const auto reference, volume_.find(on_volume(directory)));
    RS_TRY(const auto names, volume_.list(reference));
    for (const auto& name : names) {
      auto path = directory + "/" + name.name;
      if (number_of(name.reference) == file) return path;
      RS_TRY(const auto info, volume_.stat(name.reference));
      if (info.directory) directories.push_back(std::move(path));
    }
  }
  return fail(ErrorCode::not_found, "it is in no sync root");
}

// Every directory above a name asks for its children when somebody looks into it.
Result<void> SimulatedCloudWindows::look_into(const std::string& path) {
  if (!path.empty()) RS_CHECK(look_into(split_path(path).directory));
  RS_TRY(const auto reference, volume_.find(on_volume(path)));
  CloudRequest request;
  {
    std::lock_guard lock(mutex_);
    const auto found = placeholders_.find(number_of(reference));
    if (found == placeholders_.end() || found->second.whole) return {};
    request.identity = found->second.identity;
  }
  request.kind = CloudRequest::Kind::fetch_placeholders;
  request.item = {number_of(reference), ProfilePath::parse(path).value()};
  Pending answer;
  RS_CHECK(ask(request, answer));
  std::lock_guard lock(mutex_);
  placeholders_[number_of(reference)].whole = true;
  return {};
}

Result<FileNumber> SimulatedCloudWindows::find(const std::string& path) {
  RS_CHECK(look_into(split_path(path).directory));
  RS_TRY(const auto reference, volume_.find(on_volume(path)));
  return number_of(reference);
}

Result<void> SimulatedCloudWindows::bring(FileNumber file, const std::string& path) {
  CloudRequest request;
  {
    std::lock_guard lock(mutex_);
    const auto found = placeholders_.find(file);
    if (found == placeholders_.end() || found->second.whole || found->second.directory) return {};
    request.identity = found->second.identity;
  }
  RS_TRY(request.size_bytes, volume_.size(reference_of(file), ""));
  request.item = {file, ProfilePath::parse(path).value()};
  request.range = {0, request.size_bytes};
  request.process = "program.exe";
  Pending answer;
  return ask(request, answer);
}

Result<std::set<std::string>> SimulatedCloudWindows::list(const std::string& path) {
  RS_CHECK(look_into(path));
  RS_TRY(const auto reference, volume_.find(on_volume(path)));
  RS_TRY(const auto names, volume_.list(reference));
  std::set<std::string> all;
  for (const auto& name : names) all.insert(name.name);
  return all;
}

Result<Bytes> SimulatedCloudWindows::read(const std::string& path) {
  RS_TRY(const auto file, find(path));
  RS_CHECK(bring(file, path));
  RS_TRY(const auto size, volume_.size(reference_of(file), ""));
  Bytes bytes(static_cast<std::size_t>(size));
  RS_TRY(const auto count, volume_.read(reference_of(file), "", 0, bytes));
  bytes.resize(count);
  return bytes;
}

Result<void> SimulatedCloudWindows::change(const std::string& path, bool bring_first,
                                           const std::function<Result<void>(FileReference)>& change) {
  RS_TRY(const auto file, find(path));
  if (bring_first) RS_CHECK(bring(file, path));
  {
    std::lock_guard lock(mutex_);
    if (const auto found = placeholders_.find(file); found != placeholders_.end()) {
      found->second.in_sync = false;
      found->second.whole = true;
    }
  }
  RS_CHECK(change(reference_of(file)));
  CloudRequest closed;
  closed.kind = CloudRequest::Kind::closed;
  closed.item = {file, ProfilePath::parse(path).value()};
  tell(closed);
  return {};
}

Result<void> SimulatedCloudWindows::write(const std::string& path, std::uint64_t offset, ByteView data) {
  return change(path, true, [&](FileReference file) { return volume_.write(file, "", offset, data); });
}

Result<void> SimulatedCloudWindows::overwrite(const std::string& path, ByteView data) {
  return change(path, false, [&](FileReference file) -> Result<void> {
    RS_CHECK(volume_.truncate(file, "", 0));
    return volume_.write(file, "", 0, data);
  });
}

Result<void> SimulatedCloudWindows::truncate(const std::string& path, std::uint64_t size_bytes) {
  return change(path, size_bytes != 0,
                [&](FileReference file) { return volume_.truncate(file, "", size_bytes); });
}

Result<void> SimulatedCloudWindows::create(const std::string& path, ByteView data) {
  const auto [directory, name] = split_path(path);
  RS_CHECK(look_into(directory));
  RS_TRY(const auto parent, volume_.find(on_volume(directory)));
  RS_TRY(const auto file, volume_.create(parent, name, ntfs3g::ItemKind::file));
  return volume_.write(file, "", 0, data);
}

Result<void> SimulatedCloudWindows::remove(const std::string& path) {
  RS_TRY(const auto file, find(path));
  const auto [directory, name] = split_path(path);
  RS_TRY(const auto parent, volume_.find(on_volume(directory)));
  RS_CHECK(volume_.remove(parent, name));
  std::lock_guard lock(mutex_);
  placeholders_.erase(file);
  return {};
}

Result<void> SimulatedCloudWindows::rename(const std::string& from, const std::string& to) {
  RS_CHECK(find(from));
  RS_CHECK(look_into(split_path(to).directory));
  const auto source = split_path(on_volume(from)), target = split_path(on_volume(to));
  RS_TRY(const auto from_directory, volume_.find(source.directory));
  RS_TRY(const auto to_directory, volume_.find(target.directory));
  return volume_.rename(from_directory, source.name, to_directory, target.name);
}

Result<void> SimulatedCloudWindows::set_pin(const std::string& path, CloudPin pin) {
  RS_TRY(const auto file, find(path));
  {
    std::lock_guard lock(mutex_);
    if (const auto found = placeholders_.find(file); found != placeholders_.end()) found->second.pin = pin;
  }
  CloudRequest told;
  told.kind = CloudRequest::Kind::attributes;
  told.item = {file, ProfilePath::parse(path).value()};
  tell(told);
  return {};
}

Result<void> SimulatedCloudWindows::free_up(const std::string& path) {
  RS_TRY(const auto file, find(path));
  return dehydrate(file);
}

Result<void> SimulatedCloudWindows::dehydrate(FileNumber file) {
  RS_TRY(const auto path, path_of(file));
  CloudRequest request;
  {
    std::lock_guard lock(mutex_);
    const auto found = placeholders_.find(file);
    if (found == placeholders_.end()) return fail(ErrorCode::unsupported, "it is no placeholder");
    const auto& placeholder = found->second;
    if (!placeholder.whole) return {};
    if (!placeholder.in_sync) return fail(ErrorCode::denied, "the cloud file is not in sync");
    if (placeholder.pin == CloudPin::pinned) return fail(ErrorCode::denied, "the cloud file is pinned");
    request.identity = placeholder.identity;
  }
  request.kind = CloudRequest::Kind::dehydrate;
  request.item = {file, ProfilePath::parse(path).value()};
  Pending answer;
  RS_CHECK(ask(request, answer));
  if (!answer.allowed) return fail(ErrorCode::denied, "the provider refused");
  auto told = request;
  told.kind = CloudRequest::Kind::dehydrated;
  {
    std::lock_guard lock(mutex_);
    auto& placeholder = placeholders_[file];
    told.done = placeholder.in_sync;  // changed since it was asked: it stays
    if (told.done) {
      placeholder.whole = false;
      RS_TRY(const auto info, volume_.stat(reference_of(file)));
      RS_CHECK(volume_.truncate(reference_of(file), "", 0));
      RS_CHECK(volume_.truncate(reference_of(file), "", info.size_bytes));
      RS_CHECK(volume_.set_times(reference_of(file), info.created_100ns, info.written_100ns));
    }
  }
  tell(told);
  return told.done ? Result<void>() : fail(ErrorCode::busy, "changed meanwhile");
}

void SimulatedCloudWindows::cancel_all() {
  std::vector<std::pair<CloudRequestId, CloudCallbacks*>> cancelled;
  {
    std::lock_guard lock(mutex_);
    for (auto& [id, pending] : pending_) {
      pending->cancelled = true;
      cancelled.emplace_back(id, provider_of(pending->request.item.path));
    }
    changed_.notify_all();
  }
  for (const auto& [id, provider] : cancelled)
    if (provider != nullptr) provider->on_cancel(id);
}

std::size_t SimulatedCloudWindows::pending() const {
  std::lock_guard lock(mutex_);
  return pending_.size();
}

Result<void> SimulatedCloudWindows::register_root(const ProfilePath& root) {
  if (foreign_roots.count(root.text()) != 0)
    return fail(ErrorCode::conflict, "another provider's root is there");
  std::lock_guard lock(mutex_);
  registered_.insert(root);
  return {};
}

// Placeholders that were not brought go, the others are ordinary files again.
Result<void> SimulatedCloudWindows::unregister_root(const ProfilePath& root) {
  std::vector<FileNumber> files;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [file, placeholder] : placeholders_)
      if (!placeholder.directory && !placeholder.whole) files.push_back(file);
  }
  for (const auto file : files) {
    const auto path = path_of(file);
    if (!path || !ProfilePath::parse(*path)->is_within(root)) continue;
    const auto [directory, name] = split_path(on_volume(*path));
    RS_TRY(const auto parent, volume_.find(directory));
    RS_CHECK(volume_.remove(parent, name));
  }
  std::lock_guard lock(mutex_);
  registered_.erase(root);
  return {};
}

Result<void> SimulatedCloudWindows::connect(const ProfilePath& root, CloudCallbacks& callbacks) {
  std::lock_guard lock(mutex_);
  if (registered_.count(root) == 0) return fail(ErrorCode::not_found, "no such root");
  connected_[root] = &callbacks;
  return {};
}

Result<void> SimulatedCloudWindows::disconnect(const ProfilePath& root) {
  std::lock_guard lock(mutex_);
  connected_.erase(root);
  changed_.notify_all();
  return {};
}

Result<void> SimulatedCloudWindows::transfer_data(CloudRequestId id, std::uint64_t offset, ByteView data) {
  std::lock_guard lock(mutex_);
  auto* pending = alive(id);
  if (pending == nullptr) return fail(ErrorCode::cancelled, "nobody waits for it");
  const auto file = pending->request.item.file;
  const auto size = pending->request.size_bytes;
  const auto end = offset + data.size();
  if (offset % 4096 != 0 || end > size || (end % 4096 != 0 && end != size))
    return fail(ErrorCode::invalid_argument, "not aligned");
  // Another fetch brought it, or a program wrote it anew or deleted it: nobody's bytes are written over.
  if (placeholders_.count(file) == 0 || placeholders_[file].whole) {
    pending->done = true;
    changed_.notify_all();
    return fail(ErrorCode::cancelled, "nobody waits for it");
  }
  RS_TRY(const auto info, volume_.stat(reference_of(file)));
  RS_CHECK(volume_.write(reference_of(file), "", offset, data));
  RS_CHECK(volume_.set_times(reference_of(file), info.created_100ns, info.written_100ns));
  fetched_bytes_ += data.size();
  pending->come += data.size();
  touch();
  if (pending->come >= size) {
    pending->done = true;
    placeholders_[file].whole = true;
  }
  changed_.notify_all();
  return {};
}

Result<void> SimulatedCloudWindows::complete_directory(CloudRequestId id) {
  std::lock_guard lock(mutex_);
  auto* pending = alive(id);
  if (pending == nullptr) return fail(ErrorCode::cancelled, "nobody waits for it");
  pending->done = true;
  touch();
  changed_.notify_all();
  return {};
}

Result<void> SimulatedCloudWindows::allow_dehydrate(CloudRequestId id, bool allow) {
  std::lock_guard lock(mutex_);
  auto* pending = alive(id);
  if (pending == nullptr) return fail(ErrorCode::cancelled, "nobody waits for it");
  pending->allowed = allow;
  pending->done = true;
  touch();
  changed_.notify_all();
  return {};
}

Result<void> SimulatedCloudWindows::report_progress(CloudRequestId id, std::uint64_t, std::uint64_t) {
  std::lock_guard lock(mutex_);
  if (alive(id) == nullptr) return fail(ErrorCode::cancelled, "nobody waits for it");
  touch();
  changed_.notify_all();
  return {};
}

Result<void> SimulatedCloudWindows::refuse(const CloudRequest& request, ByteRange, bool retryable) {
  std::lock_guard lock(mutex_);
  if (auto* pending = alive(request.id)) {
    pending->refused = pending->done = true;
    pending->retryable = retryable;
  }
  changed_.notify_all();
  return {};
}

Result<void> SimulatedCloudWindows::convert(FileNumber file, bool directory, const std::string& identity) {
  RS_TRY(const auto path, path_of(file));
  std::lock_guard lock(mutex_);
  const auto found = placeholders_.find(file);
  if (found != placeholders_.end()) {
    found->second.identity = identity;
    return {};
  }
  if (!directory) {
    RS_TRY(const auto info, volume_.stat(reference_of(file)));
    Bytes bytes(static_cast<std::size_t>(info.size_bytes));
    RS_CHECK(volume_.read(reference_of(file), "", 0, bytes));
    if (!all_zero(bytes)) violations_.push_back("'" + path + "' is dehydrated with bytes in it");
    Bytes reparse(24);  // a tag of the filter's, the length of what follows, and nothing that is known of it
    store_le<std::uint32_t>(reparse, 0, 0x9000'601A);
    store_le<std::uint16_t>(reparse, 4, 16);
    RS_CHECK(volume_.set_reparse_point(reference_of(file), reparse));
    RS_CHECK(volume_.set_times(reference_of(file), info.created_100ns, info.written_100ns));
  }
  placeholders_[file] = {identity, directory, false, true, CloudPin::unspecified};
  return {};
}

Result<void> SimulatedCloudWindows::hydrate(FileNumber file) {
  {
    std::lock_guard lock(mutex_);
    if (placeholders_.count(file) == 0) return fail(ErrorCode::unsupported, "it is no placeholder");
  }
  RS_TRY(const auto path, path_of(file));
  return bring(file, path);
}

Result<PlaceholderState> SimulatedCloudWindows::state(FileNumber file) {
  std::lock_guard lock(mutex_);
  const auto found = placeholders_.find(file);
  if (found == placeholders_.end()) return PlaceholderState{false, true, false, CloudPin::unspecified};
  return PlaceholderState{true, found->second.whole, found->second.in_sync, found->second.pin};
}

std::vector<std::string> SimulatedCloudWindows::violations() const {
  std::lock_guard lock(mutex_);
  return violations_;
}

std::size_t SimulatedCloudWindows::registered() const {
  std::lock_guard lock(mutex_);
  return registered_.size();
}

std::uint64_t SimulatedCloudWindows::fetched_bytes() const {
  std::lock_guard lock(mutex_);
  return fetched_bytes_;
}

std::size_t SimulatedCloudWindows::placeholders() const {
  std::lock_guard lock(mutex_);
  return placeholders_.size();
}

}  // namespace roamstead::agent
