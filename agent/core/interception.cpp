#include "agent/core/interception.h"

#include <algorithm>
#include <array>

#include "agent/core/registry_loader.h"
#include "common/base/log.h"
#include "common/base/text.h"

namespace roamstead::agent {

using intercept::Op;
using profile::KeyPath;
using profile::ProfilePath;
using state_map::kLoaded;
using state_map::kRecorded;
using state_map::kSettled;
using state_map::kSubtree;

namespace {

constexpr std::uint32_t kFiles = 0;  // root
constexpr int kMostLinks = 8;        // followed in one name
constexpr std::uint32_t kWhole = kSettled | kLoaded | kRecorded;
constexpr ByteRange kEverything{0, std::uint64_t{1} << 62};
// What the loader of programs wants before any code of ours runs in them.
constexpr std::array<std::string_view, 8> kImageEndings{".dll", ".exe", ".ocx",      ".cpl",
                                                        ".drv", ".mui", ".manifest", ".config"};

bool is_image_part(const std::string& name) {
  const auto ends = [&](std::string_view ending) {
    return name.size() >= ending.size() &&
           same_name(std::string_view(name).substr(name.size() - ending.size()), ending);
  };
  return std::any_of(kImageEndings.begin(), kImageEndings.end(), ends);
}

tl::unexpected<Error> bad_name(std::u16string_view name) {
  return fail(ErrorCode::invalid_argument, "'" + to_wtf8(name) + "' is no name below the profile");
}

// "name:stream:$DATA" in the last component.
std::string split_stream(std::string& component) {
  const auto colon = component.find(':');
  if (colon == std::string::npos) return {};
  auto stream = component.substr(colon + 1);
  component.resize(colon);
  if (const auto type = stream.find(':'); type != std::string::npos) stream.resize(type);
  return stream;
}

}  // namespace

std::uint32_t status_of(const Error& error) {
  switch (error.code) {
    case ErrorCode::invalid_argument:
      return intercept::kBadName;
    case ErrorCode::full:
      return intercept::kFull;
    case ErrorCode::denied:
      return intercept::kWriteProtected;
    case ErrorCode::unsupported:
    case ErrorCode::corrupt:
    case ErrorCode::io:
    case ErrorCode::protocol:
    case ErrorCode::internal:
      return intercept::kFailed;
    default:  // not_found among them: something went away while it was brought
      return intercept::kRetry;
  }
}

Result<InterceptRequest> parse_request(ByteView message) {
  intercept::Request head{};
  if (message.size() < sizeof head || message.size() > intercept::kMaxRequestBytes)
    return fail(ErrorCode::protocol, "a question of " + std::to_string(message.size()) + " bytes");
  std::memcpy(&head, message.data(), sizeof head);
  if (head.magic != intercept::kMagic || head.version != intercept::kVersion)
    return fail(ErrorCode::protocol, "a question of another version of the hook");
  if (head.bytes != message.size() || head.name_units > intercept::kMaxNameUnits ||
      head.second_units > intercept::kMaxNameUnits ||
      sizeof head + 2 * (std::size_t{head.name_units} + head.second_units) != message.size())
    return fail(ErrorCode::protocol, "a question whose lengths contradict each other");
  if (head.op > static_cast<std::uint16_t>(Op::subtree) || head.root >= state_map::kMaxRoots ||
      head.second_root >= state_map::kMaxRoots)
    return fail(ErrorCode::protocol, "a question for something unknown");
  InterceptRequest request;
  request.op = static_cast<Op>(head.op);
  request.flags = head.flags;
  request.root = head.root;
  request.second_root = head.second_root;
  request.sequence = head.sequence;
  request.value = head.value;
  const auto* units = reinterpret_cast<const char16_t*>(message.data() + sizeof head);
  request.name = {units, head.name_units};
  request.second = {units + head.name_units, head.second_units};
  return request;
}

Bytes encode_request(const InterceptRequest& request) {
  intercept::Request head{};
  head.magic = intercept::kMagic;
  head.version = intercept::kVersion;
  head.op = static_cast<std::uint16_t>(request.op);
  head.sequence = request.sequence;
  head.root = static_cast<std::uint16_t>(request.root);
  head.second_root = static_cast<std::uint16_t>(request.second_root);
  head.flags = request.flags;
  head.name_units = static_cast<std::uint32_t>(request.name.size());
  head.second_units = static_cast<std::uint32_t>(request.second.size());
  head.value = request.value;
  head.bytes = static_cast<std::uint32_t>(sizeof head + 2 * (request.name.size() + request.second.size()));
  Bytes message(head.bytes);
  std::memcpy(message.data(), &head, sizeof head);
  auto* at = message.data() + sizeof head;
  if (!request.name.empty()) std::memcpy(at, request.name.data(), 2 * request.name.size());
  at += 2 * request.name.size();
  if (!request.second.empty()) std::memcpy(at, request.second.data(), 2 * request.second.size());
  return message;
}

// What a name stands for now.
struct Interception::Found {
  bool exists = false;
  VolumeItem item;
  std::string path;              // on the volume
  std::string parent;            // likewise
  std::string stream;            // that was named
  std::uint32_t generation = 0;  // of the state map, before anything was looked at
};

Interception::Interception(Loader& loader, ProfileVolume& volume, StateMapWriter& map,
                           InterceptionConfig config)
    : loader_(loader), volume_(volume), map_(map), config_(std::move(config)) {}

class Interception::Answering {
 public:
  explicit Answering(Interception& interception) : interception_(interception) {
    std::lock_guard lock(interception_.mutex_);
    if (!interception_.closed_) ++interception_.answering_, allowed_ = true;
  }
  ~Answering() {
    if (!allowed_) return;
    std::lock_guard lock(interception_.mutex_);
    if (--interception_.answering_ == 0) interception_.idle_.notify_all();
  }
  Answering(const Answering&) = delete;
  Answering& operator=(const Answering&) = delete;
  explicit operator bool() const { return allowed_; }

 private:
  Interception& interception_;
  bool allowed_ = false;
};

void Interception::close() {
  std::unique_lock lock(mutex_);
  closed_ = true;
  idle_.wait(lock, [&] { return answering_ == 0; });  // each has the loader's patience
}

std::uint32_t Interception::answer(Caller& caller, const InterceptRequest& request) {
  Answering answering(*this);
  if (!answering) return intercept::kRetry;
  ++counters_.questions;
  const auto done = handle(caller, request);
  if (done) return *done;
  const auto status = status_of(done.error());
  ++(status == intercept::kRetry ? counters_.retries : counters_.failures);
  // Programs can ask as often as they like.
  const auto now = std::chrono::steady_clock::now().time_since_epoch() / std::chrono::seconds(1);
  if (logged_at_.exchange(now) == now) return status;
  log_warning("a program waits in vain for '{}': {}", to_wtf8(request.name), done.error().to_string());
  return status;
}

Result<std::uint32_t> Interception::handle(Caller& caller, const InterceptRequest& request) {
  switch (request.op) {
    case Op::hello:
      break;
    case Op::key:
    case Op::subtree:
      RS_CHECK(keys(request));
      break;
    case Op::rename:
      return rename(caller, request);
    case Op::rename_done:
      end_rename(caller);
      break;
    default:
      if (caller.never_loads && (request.op == Op::content || request.op == Op::write)) {
        RS_TRY(const auto found, resolve(request.name, false));
        if (found.exists && !found.item.directory && !loader_.is_loaded(found.item.record))
          return intercept::kRefused;
      }
      RS_CHECK(files(request));
  }
  return intercept::kGoOn;
}

Result<void> Interception::files(const InterceptRequest& request) {
  if (request.root != kFiles || request.second_root != kFiles) return bad_name(request.name);
  const bool itself = (request.flags & intercept::kLinkItself) != 0 || request.op == Op::remove;
  const bool changes = request.op == Op::write || request.op == Op::remove || request.op == Op::link ||
                       request.op == Op::times;
  if (changes) {
    RS_CHECK(loader_.gate().check_program());
    note_change();
  }
  if (request.op == Op::link) {
    if ((request.flags & intercept::kToOutside) == 0) {
      RS_TRY([[maybe_unused]] const auto target, resolve(request.second, true));
      map_.begin_rename();
      map_.erase(kFiles, request.second);
      map_.end_rename();
    }
    if ((request.flags & intercept::kFromOutside) != 0) return {};
    // From now on it is changed under names that nobody asks about.
    RS_TRY(const auto source, resolve(request.name, true));
    return leave(source);
  }
  RS_TRY(const auto found, resolve(request.name, itself));
  map_.add(kFiles, request.name, kSettled, found.generation);
  if (!found.exists) return {};
  switch (request.op) {
    case Op::names:
      return {};
    case Op::content:
    case Op::write:
      return load(found, request.name, request.op == Op::write);
    case Op::remove:
      // Only what is populated can be known to be empty.
      if (found.item.directory && found.stream.empty()) RS_CHECK(load(found, request.name, false));
      if (found.stream.empty()) loader_.doubt(found.item.record);
      return {};
    case Op::times: {
      RS_TRY(const auto handle, open(found, ""));
      return loader_.change_metadata(
          *handle,
          [&]() -> Result<void> {
            RS_TRY(auto times, handle->times());
            times.created_100ns = request.value;
            return handle->set_times(times);
          },
          request.value);
    }
    case Op::image:
      return start_image(found, request.name);
    default:
      return fail(ErrorCode::internal, "an unexpected question");
  }
}

Result<Interception::Found> Interception::resolve(std::u16string_view name, bool link_itself) {
  Found found;
  found.generation = map_.generation();
  std::vector<std::string> rest;
  std::vector<std::size_t> ends;  // of the components, in `name`
  for (std::size_t at = 0; at < name.size();) {
    const auto end = std::min(name.find(u'\\', at), name.size());
    auto component = to_wtf8(name.substr(at, end - at));
    if (end == name.size()) {
      found.stream = split_stream(component);
    } else if (end + 1 == name.size()) {
      return bad_name(name);
    }
    if (component.empty() || component == "." || component == "..") return bad_name(name);
    // Nothing that Windows lets anybody open, or the profile hold: the volume says what is wrong with it.
    if (!profile::check_name(component) || component.find_first_of("\"*<>?|") != std::string::npos ||
        std::any_of(component.begin(), component.end(),
                    [](char c) { return static_cast<unsigned char>(c) < ' '; }))
      return found;
    rest.push_back(std::move(component));
    ends.push_back(end);
    at = end + 1;
  }
  found.path = config_.profile_root;
  RS_TRY(found.item, volume_.stat(found.path));
  bool as_named = true;  // the way so far is the beginning of `name`
  int links = 0;
  for (std::size_t next = 0;;) {
    const bool last = next == rest.size();
    if (!last || !link_itself) {
      if (const auto target = loader_.link_target(found.item.record)) {
        if (++links > kMostLinks) return found;
        RS_TRY(const auto path, ProfilePath::parse(*target));
        std::vector<std::string> instead;
        for (const auto component : path.components()) instead.emplace_back(component);
        instead.insert(instead.end(), rest.begin() + static_cast<std::ptrdiff_t>(next), rest.end());
        rest = std::move(instead);
        next = 0;
        as_named = false;
        found.path = config_.profile_root;
        RS_TRY(found.item, volume_.stat(found.path));
        continue;
      }
    }
    if (last) break;
    if (!found.item.directory) return found;
    if (!loader_.is_populated(found.item.record)) {
      RS_TRY(const auto directory, volume_.open(found.path, ""));
      RS_CHECK(loader_.populate(*directory));
    }
    if (as_named) map_.add(kFiles, name.substr(0, next == 0 ? 0 : ends[next - 1]), kWhole, found.generation);
    found.parent = found.path;
    found.path += "/" + rest[next++];
    auto item = volume_.stat(found.path);
    if (!item && item.error().code == ErrorCode::not_found) return found;
    if (!item) return fail(std::move(item).error());
    found.item = std::move(*item);
  }
  found.exists = true;
  return found;
}

Result<std::unique_ptr<VolumeHandle>> Interception::open(const Found& found, const std::string& stream) {
  return volume_.open(found.path, stream);
}

Result<void> Interception::load(const Found& found, std::u16string_view name, bool to_write) {
  if (found.item.directory && found.stream.empty()) {
    if (!loader_.is_populated(found.item.record)) {
      RS_TRY(const auto directory, open(found, ""));
      RS_CHECK(loader_.populate(*directory));
    }
    map_.add(kFiles, name, kWhole, found.generation);
    return {};
  }
  if (profile::classify_hive_file(in_profile(found.path)) != profile::HiveFile::none)
    return {};  // not a file of the profile
  const auto missing = loader_.unloaded_streams(found.item.record);
  const bool is_missing = std::find(missing.begin(), missing.end(), found.stream) != missing.end();
  if (is_missing || to_write) {
    auto handle = open(found, found.stream);
    // A stream that is not there yet, or a file that just went: whoever opens it is told by the volume.
    if (!handle && handle.error().code == ErrorCode::not_found && !is_missing) return {};
    if (!handle) return fail(std::move(handle).error());
    RS_CHECK(loader_.load(**handle, kEverything));
    if (to_write) RS_CHECK(loader_.record_loaded(**handle));
    if (is_missing) ++counters_.loaded_files;
  }
  map_.add(kFiles, name, to_write ? kWhole : kSettled | kLoaded, found.generation);
  return {};
}

// With all its streams, for good.
Result<void> Interception::leave(const Found& found) {
  if (!found.exists || found.item.directory) return {};
  for (const auto& stream : loader_.unloaded_streams(found.item.record)) {
    RS_TRY(const auto handle, open(found, stream));
    RS_CHECK(loader_.load(*handle, kEverything));
  }
  RS_TRY(const auto handle, open(found, ""));
  return loader_.record_loaded(*handle);
}

Result<std::uint32_t> Interception::rename(Caller& caller, const InterceptRequest& request) {
  if (request.root != kFiles || request.second_root != kFiles) return bad_name(request.name);
  end_rename(caller);
  RS_CHECK(loader_.gate().check_program());
  note_change();
  bool directories = false;
  std::optional<Found> moved;
  if ((request.flags & intercept::kFromOutside) == 0) {
    RS_TRY(const auto source, resolve(request.name, true));
    if (source.exists) moved = source;
    directories = !source.exists || source.item.directory;
    if ((request.flags & intercept::kToOutside) != 0) {
      // A directory would take along what is not loaded.
      if (source.exists && source.item.directory) return intercept::kOtherVolume;
      RS_CHECK(leave(source));
    }
  } else {
    directories = true;
  }
  if ((request.flags & intercept::kToOutside) == 0) {
    RS_TRY(const auto target, resolve(request.second, true));
    if (moved && !loader_.may_rename(moved->item.record, moved->item.directory, in_profile(moved->path),
                                     in_profile(target.path))) {
      // Other rules hold there: it would be saved without what is not loaded.
      if (moved->item.directory) return intercept::kOtherVolume;
      RS_CHECK(leave(*moved));
    }
    if (target.exists && target.item.directory) RS_CHECK(load(target, request.second, false));
    if (target.exists) loader_.doubt(target.item.record);
  }
  map_.begin_rename();  // before anything is erased: nothing comes back
  caller.renaming_ = true;
  // Of a directory all names below it change their meaning, and nobody knows how they were spelt.
  if (directories) {
    map_.clear();
  } else {
    map_.erase(kFiles, request.name);
    map_.erase(kFiles, request.second);
  }
  return intercept::kGoOn;
}

void Interception::end_rename(Caller& caller) {
  if (!caller.renaming_) return;
  caller.renaming_ = false;
  map_.end_rename();
}

Result<void> Interception::start_image(Found found, std::u16string_view name) {
  auto left = config_.most_image_bytes;
  auto take = [&](const Found& file, std::u16string_view known_as) -> Result<void> {
    left -= std::min(left, file.item.size_bytes);
    return load(file, known_as, false);
  };
  found.stream.clear();
  RS_CHECK(take(found, name));
  RS_TRY(const auto items, volume_.list(found.parent));
  for (const auto& item : items) {
    if (item.directory || !is_image_part(item.name) || loader_.is_loaded(item.record)) continue;
    if (item.size_bytes > left) {
      log_warning("{} is started before all of its folder is loaded: that is too much", found.path);
      break;
    }
    Found part = found;
    part.item = item;
    part.path = found.parent + "/" + item.name;
    left -= item.size_bytes;
    RS_TRY(const auto handle, volume_.open(part.path, ""));
    RS_CHECK(loader_.load(*handle, kEverything));
    ++counters_.loaded_files;
  }
  return {};
}

Result<void> Interception::keys(const InterceptRequest& request) {
  const auto generation = map_.generation();
  const bool subtree = request.op == Op::subtree;
  auto root = config_.key_roots.find(request.root);
  if (root == config_.key_roots.end() || loader_.registry() == nullptr) return bad_name(request.name);
  if (auto key = KeyPath::parse(to_wtf8(request.name))) {
    for (const auto& link : config_.key_links) {
      const auto depth = link.at.text().size();
      if (link.root != request.root || key->text().size() < depth ||
          !same_name(std::string_view(key->text()).substr(0, depth), link.at.text()) ||
          (key->text().size() > depth && key->text()[depth] != '\\'))
        continue;
      root = config_.key_roots.find(link.to);
      if (root == config_.key_roots.end()) return bad_name(request.name);
      key = KeyPath::parse(std::string_view(key->text()).substr(std::min(depth + 1, key->text().size())));
      break;
    }
    RS_CHECK(load_key(root->second, *key, subtree));
  }  // else no key can have this name: the registry says so
  map_.add(request.root, request.name, kSettled | kLoaded | (subtree ? kSubtree : 0u), generation);
  return {};
}

Result<void> Interception::load_key(const InterceptionConfig::KeyRoot& root, const KeyPath& below,
                                    bool subtree) {
  const auto text = root.key.is_root() || below.is_root() ? root.key.text() + below.text()
                                                          : root.key.text() + "\\" + below.text();
  RS_TRY(const auto key, KeyPath::parse(text));
  RS_CHECK(loader_.populate_above(root.hive, Priority::foreground));
  const bool had = loader_.registry()->is_loaded(root.hive, key);
  auto loaded = loader_.registry()->load(root.hive, key, subtree);
  if (!loaded && loaded.error().code != ErrorCode::not_found) return loaded;  // no such hive: nothing to load
  if (!had) ++counters_.loaded_keys;
  // Programs ask for many keys that nobody has: to know those helps nobody.
  if (config_.note_key && loader_.registry()->is_loaded(root.hive, key)) config_.note_key(root.hive, key);
  return {};
}

}  // namespace roamstead::agent
