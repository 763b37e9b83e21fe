#include "coordinator/compose/pool_spec.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "common/base/host_port.h"
#include "common/base/text.h"
#include "coordinator/compose/spec_first_boot.h"
#include "coordinator/compose/spec_reader.h"
#include "coordinator/compose/spec_user_disk.h"
#include "coordinator/compose/spec_vm.h"
#include "coordinator/compose/units_network.h"
#include "coordinator/config/addresses.h"
#include "coordinator/config/agent_settings_node.h"
#include "coordinator/config/ascii_toml.h"
#include "coordinator/join/routes.h"

namespace roamstead::compose {
namespace {

constexpr std::uint64_t kMostClones = 100'000;
constexpr std::uint64_t kMostFileBytes = 256u << 20;
constexpr std::size_t kLongestComputerName = 15;  // NetBIOS

bool is_name_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
}

tl::unexpected<Error> invalid(std::string what) { return fail(ErrorCode::invalid_argument, std::move(what)); }

Result<NamePattern> parse_pattern(const std::string& text) {
  const auto open = text.find('{'), close = text.find('}');
  const auto wrong = [&] {
    return invalid("'" + text + "' needs one place for the number, such as VDI-{n:04}");
  };
  if (open == std::string::npos || close == std::string::npos || close < open) return wrong();
  NamePattern pattern{text.substr(0, open), 1, text.substr(close + 1)};
  const auto inside = text.substr(open + 1, close - open - 1);
  if (pattern.after.find_first_of("{}") != std::string::npos) return wrong();
  if (inside != "n") {
    if (inside.rfind("n:", 0) != 0) return wrong();
    const auto* end = inside.data() + inside.size();
    const auto number = std::from_chars(inside.data() + 2, end, pattern.digits);
    if (number.ec != std::errc() || number.ptr != end || pattern.digits == 0 || pattern.digits > 9)
      return wrong();
  }
  return pattern;
}

Result<std::uint32_t> parse_ipv4(const std::string& text) {
  in_addr address{};
  if (::inet_pton(AF_INET, text.c_str(), &address) != 1) return invalid("'" + text + "' is no IPv4 address");
  return ntohl(address.s_addr);
}

// "10.1.0.10-10.1.0.99/24"
Result<AddressRange> parse_range(const std::string& text) {
  const auto dash = text.find('-'), slash = text.find('/');
  if (dash == std::string::npos || slash == std::string::npos || slash < dash)
    return invalid("'" + text + "' is not a range such as 10.1.0.10-10.1.0.99/24");
  AddressRange range;
  RS_TRY(range.first, parse_ipv4(text.substr(0, dash)));
  RS_TRY(range.last, parse_ipv4(text.substr(dash + 1, slash - dash - 1)));
  const auto* end = text.data() + text.size();
  const auto bits = std::from_chars(text.data() + slash + 1, end, range.prefix_bits);
  if (bits.ec != std::errc() || bits.ptr != end || range.prefix_bits == 0 || range.prefix_bits > 30)
    return invalid("'" + text + "': the network's prefix is 1 to 30 bits");
  if (range.last < range.first) return invalid("'" + text + "' ends before it begins");
  const auto mask = ~std::uint32_t{0} << (32 - range.prefix_bits);
  if ((range.first & mask) != (range.last & mask)) return invalid("'" + text + "' is not within one network");
  if ((range.first & ~mask) == 0 || (range.last | mask) == ~std::uint32_t{0})
    return invalid("'" + text + "' holds the network's own or its broadcast address");
  return range;
}

Result<ServiceStart> parse_start(const std::string& text) {
  constexpr std::pair<const char*, ServiceStart> kStarts[] = {{"boot", ServiceStart::boot},
                                                              {"system", ServiceStart::system},
                                                              {"automatic", ServiceStart::automatic},
                                                              {"manual", ServiceStart::manual},
                                                              {"disabled", ServiceStart::disabled}};
  for (const auto& [word, start] : kStarts)
    if (text == word) return start;
  return invalid("'" + text + "' is none of boot, system, automatic, manual, disabled");
}

// A path on the Windows volume from what an administrator writes: "C:\\ProgramData\\x" or "ProgramData/x".
Result<std::string> parse_windows_path(std::string text) {
  std::replace(text.begin(), text.end(), '\\', '/');
  if (text.size() > 2 && text[1] == ':') {
    if (text[0] != 'C' && text[0] != 'c') return invalid("only files on C: can be placed");
    text.erase(0, 2);
  }
  text.erase(0, text.find_first_not_of('/'));
  if (text.empty() || !is_wtf8(text)) return invalid("expected a path on the Windows volume");
  for (std::size_t at = 0; at <= text.size();) {
    const auto slash = std::min(text.find('/', at), text.size());
    const auto part = text.substr(at, slash - at);
    if (part.empty() || part == "." || part == ".." || part.find_first_of("<>:\"|?*") != std::string::npos ||
        part.back() == '.' || part.back() == ' ' || part.size() > 255)
      return invalid("'" + part + "' cannot be a name on Windows");
    at = slash + 1;
  }
  return text;
}

class Reader {
 public:
  // `files` null: what files hold does not matter.
  Reader(os::FileSystem* files, const std::string& source, std::string directory)
      : files_(files), directory_(std::move(directory)), problems_(source) {}

  Result<PoolSpec> read(const std::string& text, const std::string& source) {
    RS_TRY(const auto ascii, config::ascii_toml(text, source));
    auto parsed = toml::parse(ascii, source);
    if (!parsed) {
      problems_.note(parsed.error().source(), std::string(parsed.error().description()));
      return fail(problems_.error());
    }
    SpecTable all(parsed.table(), "", problems_);
    all.require("pool");
    all.table("pool", [&](SpecTable& table) { read_pool(table); });
    all.table("network", [&](SpecTable& table) { read_network(table); });
    all.table("user_disk", [&](SpecTable& table) { read_user_disk(table, spec_); });
    all.table("system", [&](SpecTable& table) { read_system(table); });
    all.table("join", [&](SpecTable& table) { read_join(table); });
    all.table("services", [&](SpecTable& table) {
      table.every_text([&](const std::string& service, const std::string& start) -> Result<void> {
        RS_TRY(const auto value, parse_start(start));
        spec_.services.push_back({service, value});
        return {};
      });
    });
    all.table("profiles", [&](SpecTable& table) {
      table.text("directory",
                 [&](const std::string& value) { return take(spec_.profiles_directory, value); });
      read_profiles(table, spec_.profiles);
    });
    all.table("logon", [&](SpecTable& table) {
      read_logon(
          table, [&](const std::string& path) { return read_secret_line(path); }, spec_.logon);
    });
    all.table("policy", [&](SpecTable& table) { read_policies(table, spec_.policies); });
    if (spec_.addresses6) put_first(kNetwork6ScriptName, network6_script());  // a join needs the network
    all.texts("registry", [&](const std::string& path) { return read_reg(path); });
    all.tables("values", [&](SpecTable& table) { read_registry_value(table, spec_.registry); });
    all.tables("files", [&](SpecTable& table) { read_file(table); });
    all.tables("scripts", [&](SpecTable& table) {
      read_first_boot_step(table, spec_, [&](const std::string& path) { return read_host_file(path); });
    });
    all.table("first_boot", [&](SpecTable& table) { read_first_boot_section(table, spec_); });
    all.tables("assign", [&](SpecTable& table) { read_assign(table, spec_); });
    all.table("prewarm", [&](SpecTable& table) { read_prewarm(table, spec_); });
    all.table("agent", [&](SpecTable& agent) {
      agent.table("settings", [&](SpecTable& table) { read_agent_settings(table); });
    });
    all.table("vm", [&](SpecTable& table) {
      read_vm(table, spec_, [&](const std::string& path) { return read_host_file(path); });
    });
    all.done();
    if (!problems_.empty()) return fail(problems_.error());
    return std::move(spec_);
  }

 private:
  void read_agent_settings(SpecTable& table) {
    table.every_value([&](const std::string& key, const toml::node& node) -> Result<void> {
      RS_TRY(auto setting, config::read_agent_setting(key, node));
      for (const auto& each : spec_.agent_settings)
        if (each.name == setting.name) return invalid("'" + setting.name + "' is set twice");
      spec_.agent_settings.push_back(std::move(setting));
      return {};
    });
  }

  static Result<void> take(std::string& out, const std::string& value) {
    if (value.empty() || !is_wtf8(value)) return invalid("expected a text that is not empty");
    out = value;
    return {};
  }
  std::string path_of_host(const std::string& path) const {
    return path.front() == '/' ? path : os::join_path(directory_, path);
  }
  Result<Bytes> read_host_file(const std::string& path) {
    if (path.empty()) return invalid("expected the path of a file");
    return files_ == nullptr ? Bytes() : os::read_file(*files_, path_of_host(path), kMostFileBytes);
  }

  // Its first line.
  Result<join::SecretBytes> read_secret_line(const std::string& path) {
    RS_TRY(auto content, read_host_file(path));
    const auto line = as_text(content).substr(0, as_text(content).find_first_of("\r\n"));
    auto secret = join::to_secret(as_bytes(line));
    join::cleanse(content.data(), content.size());
    if (files_ != nullptr && (secret.empty() || !is_wtf8(as_text(secret))))
      return invalid("'" + path + "' has no text in its first line");
    return secret;
  }
  void put_first(const char* name, const std::string& script) {
    const auto bytes = as_bytes(script);
    spec_.scripts.insert(spec_.scripts.begin(), {name, Bytes(bytes.begin(), bytes.end())});
  }

  void read_pool(SpecTable& table) {
    for (const char* key : {"name", "image", "clones", "count", "directory"}) table.require(key);
    table.text("name", [&](const std::string& value) { return take_name(spec_.name, value, "pool"); });
    table.text("image", [&](const std::string& value) { return take_name(spec_.image, value, "image"); });
    table.text("clones", [&](const std::string& value) -> Result<void> {
      RS_TRY(spec_.clones, parse_pattern(value));
      return {};
    });
    table.number("first", 0, 999'999'999, spec_.first_number);
    table.number("count", 1, kMostClones, spec_.count);
    table.text("kind", [&](const std::string& value) -> Result<void> {
      if (value != "linked" && value != "full") return invalid("'" + value + "' is neither linked nor full");
      spec_.kind = value == "full" ? CloneKind::full : CloneKind::linked;
      return {};
    });
    table.text("directory", [&](const std::string& value) -> Result<void> {
      if (value.empty() || value.front() != '/') return invalid("expected an absolute path on this host");
      spec_.directory = value;
      return {};
    });
    table.text("format", [&](const std::string& value) -> Result<void> {
      RS_TRY(spec_.format, vdisk::parse_format(value));
      if (spec_.format == vdisk::Format::raw || spec_.format == vdisk::Format::foreign)
        return invalid("'" + value + "' has no linked clones; expected vhdx, vhd or qcow2");
      return {};
    });
    table.flag("allow_duplicate_sid", spec_.allow_duplicate_sid);
    table.text("session_pool",
               [&](const std::string& value) { return take_name(spec_.session_pool, value, "pool"); });
    check_names(table);
  }
  static Result<void> take_name(std::string& out, const std::string& value, const char* what) {
    const auto good = [](char c) { return is_name_letter(c) || c == '_' || c == '.'; };
    if (value.empty() || value.size() > 63 || !std::all_of(value.begin(), value.end(), good) ||
        !is_name_letter(value.front()) || value.front() == '-')
      return invalid(fmt::format("'{}' cannot be the name of a{} {}: letters, digits, '-', '_' and '.'",
                                 value, what[0] == 'i' ? "n" : "", what));
    out = value;
    return {};
  }
  // The longest name is that of the last clone; the others differ in digits only.
  void check_names(const SpecTable& table) {
    if (spec_.count == 0 || (spec_.clones.before.empty() && spec_.clones.after.empty())) return;
    for (const auto index : {std::uint64_t{0}, spec_.count - 1})
      if (auto good = check_computer_name(spec_.clone_name(index)); !good) {
        table.note_at("clones", good.error().to_string());
        return;
      }
  }

  void read_network(SpecTable& table) {
    table.text("addresses", [&](const std::string& value) -> Result<void> {
      RS_TRY(spec_.addresses, parse_range(value));
      if (spec_.addresses->size() < spec_.count)
        return invalid(fmt::format("'{}' has {} addresses for {} desktops", value, spec_.addresses->size(),
                                   spec_.count));
      return {};
    });
    table.text("gateway", [&](const std::string& value) -> Result<void> {
      if (!spec_.addresses) return invalid("goes with 'addresses'; DHCP says its own");
      RS_TRY(spec_.addresses->gateway, parse_ipv4(value));
      const auto mask = ~std::uint32_t{0} << (32 - spec_.addresses->prefix_bits);
      if ((spec_.addresses->gateway & mask) != (spec_.addresses->first & mask))
        return invalid("'" + value + "' is in another network than 'addresses'");
      if (spec_.addresses->gateway >= spec_.addresses->first &&
          spec_.addresses->gateway <= spec_.addresses->last)
        return invalid("'" + value + "' is one of 'addresses': two machines would have it");
      return {};
    });
    table.text("addresses6", [&](const std::string& value) -> Result<void> {
      RS_TRY(spec_.addresses6, parse_range6(value));
      if (spec_.count != 0 && spec_.addresses6->last_index() < spec_.count - 1)
        return invalid(fmt::format("'{}' has {} addresses for {} desktops", value,
                                   spec_.addresses6->last_index() + 1, spec_.count));
      return {};
    });
    table.text("gateway6", [&](const std::string& value) -> Result<void> {
      if (!spec_.addresses6) return invalid("goes with 'addresses6'; routers announce themselves");
      RS_TRY(spec_.addresses6->gateway, parse_gateway6(value, *spec_.addresses6));
      return {};
    });
    table.texts("dns", [&](const std::string& value) -> Result<void> {
      if (value.find(':') != std::string::npos) {
        RS_TRY(const auto server, parse_ipv6(value));
        spec_.dns_servers6.push_back(server.text());
        return {};
      }
      RS_CHECK(parse_ipv4(value).map([](std::uint32_t) {}));
      spec_.dns_servers.push_back(value);
      return {};
    });
    table.text("dns_suffix", [&](const std::string& value) -> Result<void> {
      RS_CHECK(config::check_host_name(value));
      spec_.dns_suffix = value;
      return {};
    });
    table.text("adapter", [&](const std::string& value) { return take(spec_.adapter, value); });
  }

  // Needed as long as the pool is there, from wherever the coordinator runs.
  static Result<void> take_path(std::string& out, const std::string& value) {
    if (value.empty() || value.front() != '/') return invalid("expected an absolute path on this host");
    out = value;
    return {};
  }

  void read_join(SpecTable& table) {
    JoinSpec join;
    bool wanted = true;
    table.text("method", [&](const std::string& value) -> Result<void> {
      constexpr std::pair<const char*, JoinMethod> kMethods[] = {{"direct", JoinMethod::direct},
                                                                 {"unattend", JoinMethod::unattend},
                                                                 {"runonce", JoinMethod::runonce}};
      wanted = value != "none";
      for (const auto& [word, method] : kMethods)
        if (value == word) {
          join.method = method;
          return {};
        }
      return wanted ? invalid("'" + value + "' is none of direct, unattend, runonce, none") : Result<void>();
    });
    table.text("blobs", [&](const std::string& value) { return take_path(join.blobs, value); });
    if (!join.blobs.empty()) {
      for (const char* key : {"controller", "container", "bind", "password_file", "ca_file", "existing"})
        if (table.has(key)) table.note_at(key, "goes without 'blobs': their accounts have been made already");
    } else if (wanted) {
      table.require("controller");
    }
    table.text("controller", [&](const std::string& value) -> Result<void> {
      if (value.rfind("ldaps://", 0) != 0 && value.rfind("ldap://", 0) != 0)
        return invalid("expected a domain controller, such as ldaps://dc1.corp.example.com");
      join.controller = value;
      return {};
    });
    table.text("container", [&](const std::string& value) { return take(join.container, value); });
    table.text("bind", [&](const std::string& value) { return take(join.bind_name, value); });
    table.text("password_file", [&](const std::string& value) -> Result<void> {
      if (join.bind_name.empty()) return invalid("goes with 'bind'; without it Kerberos is used");
      return take_path(join.password_file, value);
    });
    if (!join.bind_name.empty()) table.require("password_file");
    table.text("ca_file",
               [&](const std::string& value) -> Result<void> { return take_path(join.ca_file, value); });
    table.text("existing", [&](const std::string& value) -> Result<void> {
      if (value != "refuse" && value != "reuse")
        return invalid("'" + value + "' is neither refuse nor reuse");
      join.reuse_accounts = value == "reuse";
      return {};
    });
    if (!wanted) return;
    // The first thing a desktop does: other steps may need the domain.
    if (join.method == JoinMethod::runonce) put_first(join::kRunonceScriptName, join::runonce_join_script());
    spec_.join = join;
  }

  void read_system(SpecTable& table) {
    table.text("time_zone", [&](const std::string& value) { return take(spec_.time_zone, value); });
    table.flag("hibernation", spec_.hibernation);
    table.text("san_policy", [&](const std::string& value) -> Result<void> {
      RS_TRY(spec_.san_policy, parse_san_policy(value));
      return {};
    });
    table.flag("machine_password_change", spec_.machine_password_change);
    table.text("kms_host", [&](const std::string& value) -> Result<void> {
      const auto parts = parse_host_port(value);
      RS_CHECK(config::check_host_name(parts ? parts->host : value));
      spec_.kms_host = value;
      return {};
    });
  }

  Result<void> read_reg(const std::string& path) {
    RS_TRY(const auto text, read_host_file(path));
    if (files_ == nullptr) return {};
    RS_TRY_CTX(auto changes, path, registry::parse_reg(text));
    std::move(changes.begin(), changes.end(), std::back_inserter(spec_.registry));
    return {};
  }

  void read_file(SpecTable& table) {
    PlacedFile file;
    table.require("source");
    table.require("path");
    table.text("source", [&](const std::string& value) -> Result<void> {
      RS_TRY(file.content, read_host_file(value));
      return {};
    });
    table.text("path", [&](const std::string& value) -> Result<void> {
      RS_TRY(file.path, parse_windows_path(value));
      for (const auto& other : spec_.files)
        if (same_name(other.path, file.path)) return invalid("'" + value + "' is placed twice");
      return {};
    });
    spec_.files.push_back(std::move(file));
  }

  os::FileSystem* const files_;
  const std::string directory_;
  SpecProblems problems_;
  PoolSpec spec_;
};

}  // namespace

std::string NamePattern::name(std::uint64_t number) const {
  return fmt::format("{}{:0{}}{}", before, number, digits, after);
}

std::string address_text(std::uint32_t ipv4) {
  return fmt::format("{}.{}.{}.{}", ipv4 >> 24, ipv4 >> 16 & 255, ipv4 >> 8 & 255, ipv4 & 255);
}

Result<void> check_computer_name(const std::string& name) {
  if (name.size() < 2 || name.size() > kLongestComputerName)
    return invalid(fmt::format("'{}' has {} characters: a computer's name has 2 to {}", name, name.size(),
                               kLongestComputerName));
  if (!std::all_of(name.begin(), name.end(), is_name_letter) || name.front() == '-' || name.back() == '-')
    return invalid("'" + name +
                   "' cannot be a computer's name: letters, digits and '-', which is not at either end");
  if (name.find_first_not_of("0123456789") == std::string::npos)
    return invalid("'" + name + "' cannot be a computer's name: it is a number");
  return {};
}

Result<PoolSpec> parse_pool_spec(os::FileSystem& files, const std::string& text, const std::string& source,
                                 const std::string& directory) {
  return Reader(&files, source, directory).read(text, source);
}

Result<PoolSpec> parse_made_pool_spec(const std::string& text, const std::string& source) {
  return Reader(nullptr, source, "").read(text, source);
}

}  // namespace roamstead::compose
