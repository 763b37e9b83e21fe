#include "coordinator/join/odj_blob.h"

#include "common/base/text.h"
#include "coordinator/join/ndr.h"

namespace roamstead::join {
namespace {

constexpr std::uint32_t kVersion = 1;
constexpr std::uint32_t kWindows7 = 1, kPackage = 2;  // formats
constexpr std::uint32_t kEssential = 1;               // flag of a part

Guid part_type(std::string_view text) { return Guid::parse(text).value_or(Guid()); }
const Guid kJoinProvider = part_type("631c7621-5289-4321-bc9e-80f843f868c3");
const Guid kJoinProvider2 = part_type("57bfc56b-52f9-480c-adcb-91b3f8a82317");
const Guid kJoinProvider3 = part_type("fc0ccf25-7ffa-474a-8611-69ffe269645f");
const Guid kCertificates = part_type("9c0971e9-832f-4873-8e87-ef1419d4781e");
const Guid kPolicy = part_type("68fb602a-0c09-48ce-b75f-07b7bd58f7ec");

struct StringHeader {
  std::uint16_t bytes = 0;
  bool there = false;
};

Result<StringHeader> string_header(NdrReader& reader) {
  StringHeader header;
  RS_TRY(header.bytes, reader.number<std::uint16_t>());
  RS_TRY([[maybe_unused]] const auto most, reader.number<std::uint16_t>());
  RS_TRY(header.there, reader.pointer());
  return header;
}

Result<void> read_string(NdrReader& reader, bool there, std::string& into) {
  if (!there) return {};
  RS_TRY(const auto text, reader.wide_string());
  into = utf16le_to_wtf8(text);
  return {};
}
Result<void> read_string(NdrReader& reader, const StringHeader& header, std::string& into) {
  if (!header.there) return {};
  RS_TRY(const auto text, reader.counted_string(header.bytes));
  into = utf16le_to_wtf8(text);
  return {};
}

Result<void> read_windows_7(ByteView bytes, OdjBlob& blob) {
  RS_TRY(auto reader, NdrReader::open(bytes));
  auto& [join_domain, membership, controller, options, account_sid, site, parts] = blob;
  auto& domain = membership.domain;
  RS_TRY(const auto has_join_domain, reader.pointer());
  RS_TRY(const auto has_machine, reader.pointer());
  RS_TRY(const auto has_password, reader.pointer());
  RS_TRY(const auto netbios, string_header(reader));
  RS_TRY(const auto dns, string_header(reader));
  RS_TRY(const auto forest, string_header(reader));
  RS_TRY(domain.guid, reader.guid());
  RS_TRY(const auto has_sid, reader.pointer());
  RS_TRY(const auto has_name, reader.pointer());
  RS_TRY(const auto has_address, reader.pointer());
  RS_TRY(controller.address_type, reader.number<std::uint32_t>());
  RS_TRY(controller.domain_guid, reader.guid());
  RS_TRY(const auto has_domain, reader.pointer());
  RS_TRY(const auto has_forest, reader.pointer());
  RS_TRY(controller.flags, reader.number<std::uint32_t>());
  RS_TRY(const auto has_site, reader.pointer());
  RS_TRY(const auto has_client_site, reader.pointer());
  RS_TRY(options, reader.number<std::uint32_t>());
  if (!has_machine || !has_password || !has_sid)
    return fail(ErrorCode::corrupt, "the machine's name, its password or the domain's SID is missing");
  RS_CHECK_CTX("domain asked for", read_string(reader, has_join_domain, join_domain));
  RS_CHECK_CTX("machine's name", read_string(reader, has_machine, membership.machine_name));
  RS_TRY_CTX(const auto password, "password", reader.wide_string());
  membership.machine_password = to_secret(password);
  RS_CHECK_CTX("NetBIOS name", read_string(reader, netbios, domain.netbios_name));
  RS_CHECK_CTX("DNS name", read_string(reader, dns, domain.dns_name));
  RS_CHECK_CTX("forest", read_string(reader, forest, domain.dns_forest));
  RS_TRY_CTX(domain.sid, "domain's SID", reader.sid());
  RS_CHECK_CTX("controller's name", read_string(reader, has_name, controller.name));
  RS_CHECK_CTX("controller's address", read_string(reader, has_address, controller.address));
  RS_CHECK_CTX("controller's domain", read_string(reader, has_domain, controller.domain_name));
  RS_CHECK_CTX("controller's forest", read_string(reader, has_forest, controller.forest_name));
  RS_CHECK_CTX("controller's site", read_string(reader, has_site, controller.site));
  RS_CHECK_CTX("client's site", read_string(reader, has_client_site, controller.client_site));
  return {};
}

Result<void> read_provider_2(ByteView bytes, OdjBlob& blob) {
  RS_TRY(auto reader, NdrReader::open(bytes));
  auto& site = blob.site.emplace();
  RS_TRY(site.flags, reader.number<std::uint32_t>());
  RS_TRY(const auto has_name, reader.pointer());
  RS_TRY(const auto has_site, reader.pointer());
  RS_TRY(const auto has_domain, reader.pointer());
  RS_TRY([[maybe_unused]] const auto reserved, reader.number<std::uint32_t>());
  RS_TRY([[maybe_unused]] const auto has_reserved, reader.pointer());
  RS_CHECK(read_string(reader, has_name, site.netbios_name));
  RS_CHECK(read_string(reader, has_site, site.site));
  return read_string(reader, has_domain, site.primary_dns_domain);
}

Result<void> read_provider_3(ByteView bytes, OdjBlob& blob) {
  RS_TRY(auto reader, NdrReader::open(bytes));
  RS_TRY(const auto rid, reader.number<std::uint32_t>());
  RS_TRY(const auto has_sid, reader.pointer());
  if (rid != 0) blob.membership.machine_rid = rid;
  return read_string(reader, has_sid, blob.account_sid);
}

struct PartHeader {
  Guid type;
  std::uint32_t flags = 0, bytes = 0, extension_bytes = 0;
  bool there = false, has_extension = false;
};

Result<bool> read_parts(ByteView collection, OdjBlob& blob) {
  RS_TRY(auto reader, NdrReader::open(collection));
  RS_TRY(const auto announced, reader.number<std::uint32_t>());
  RS_TRY(const auto has_parts, reader.pointer());
  RS_TRY([[maybe_unused]] const auto extension_bytes, reader.number<std::uint32_t>());
  RS_TRY([[maybe_unused]] const auto has_extension, reader.pointer());
  if (!has_parts) return false;
  RS_TRY(const auto count, reader.array());
  if (count != announced)
    return fail(ErrorCode::corrupt,
                "has " + std::to_string(count) + " parts and announces " + std::to_string(announced));
  std::vector<PartHeader> headers;
  for (std::uint32_t i = 0; i < count; ++i) {
    PartHeader header;
    RS_TRY(header.type, reader.guid());
    RS_TRY(header.flags, reader.number<std::uint32_t>());
    RS_TRY(header.bytes, reader.number<std::uint32_t>());
    RS_TRY(header.there, reader.pointer());
    RS_TRY(header.extension_bytes, reader.number<std::uint32_t>());
    RS_TRY(header.has_extension, reader.pointer());
    headers.push_back(header);
  }
  bool joined = false;
  for (const auto& header : headers) {
    const auto where = "part " + header.type.to_string();
    ByteView bytes;
    if (header.there) {
      RS_TRY_CTX(bytes, where, reader.bytes(header.bytes));
    }
    if (header.has_extension) RS_CHECK_CTX(where, reader.bytes(header.extension_bytes).map([](ByteView) {}));
    if (header.type == kJoinProvider) {
      RS_CHECK_CTX(where, read_windows_7(bytes, blob));
      joined = true;
    } else if (header.type == kJoinProvider2) {
      RS_CHECK_CTX(where, read_provider_2(bytes, blob));
    } else if (header.type == kJoinProvider3) {
      RS_CHECK_CTX(where, read_provider_3(bytes, blob));
    } else if ((header.flags & kEssential) != 0 && header.type != kCertificates && header.type != kPolicy) {
      return fail(ErrorCode::unsupported, where + ": says it is essential, but is not known");
    } else {
      blob.parts.push_back({header.type, header.flags, to_secret(bytes)});
    }
  }
  return joined;
}

Result<bool> read_package(ByteView bytes, OdjBlob& blob) {
  RS_TRY(auto reader, NdrReader::open(bytes));
  RS_TRY(const auto encryption, reader.guid());
  if (!encryption.is_zero())
    return fail(ErrorCode::unsupported,
                "the package is encrypted (" + encryption.to_string() + "); provision it without protection");
  RS_TRY(const auto context_bytes, reader.number<std::uint32_t>());
  RS_TRY(const auto has_context, reader.pointer());
  RS_TRY(const auto parts_bytes, reader.number<std::uint32_t>());
  RS_TRY(const auto has_parts, reader.pointer());
  RS_TRY([[maybe_unused]] const auto decrypted, reader.number<std::uint32_t>());
  RS_TRY([[maybe_unused]] const auto extension_bytes, reader.number<std::uint32_t>());
  RS_TRY([[maybe_unused]] const auto has_extension, reader.pointer());
  if (has_context) RS_CHECK(reader.bytes(context_bytes).map([](ByteView) {}));
  if (!has_parts) return false;
  RS_TRY(const auto parts, reader.bytes(parts_bytes));
  return read_parts(parts, blob);
}

SecretBytes utf16(std::string_view text) { return secret_utf16(text).value_or(SecretBytes()); }

SecretBytes windows_7(const OdjBlob& blob) {
  const auto& domain = blob.membership.domain;
  const auto& controller = blob.controller;
  const SecretBytes counted[] = {utf16(domain.netbios_name), utf16(domain.dns_name),
                                 utf16(domain.dns_forest)};
  NdrWriter writer;
  writer.pointer(true);
  writer.pointer(true);
  writer.odd_pointer();  // to the password: Samba writes it so, and Windows takes it
  for (const auto& text : counted) {
    writer.number(static_cast<std::uint16_t>(text.size()));
    writer.number(static_cast<std::uint16_t>(text.size() + 2));
    writer.pointer(true);
  }
  writer.guid(domain.guid);
  writer.pointer(true);
  writer.pointer(true);
  writer.pointer(true);
  writer.number(controller.address_type);
  writer.guid(controller.domain_guid);
  writer.pointer(true);
  writer.pointer(true);
  writer.number(controller.flags);
  writer.pointer(true);
  writer.pointer(true);
  writer.number(blob.options);
  writer.wide_string(utf16(blob.join_domain));
  writer.wide_string(utf16(blob.membership.machine_name));
  writer.wide_string(blob.membership.machine_password);
  for (const auto& text : counted) writer.counted_string(text);
  writer.sid(domain.sid);
  for (const auto* text : {&controller.name, &controller.address, &controller.domain_name,
                           &controller.forest_name, &controller.site, &controller.client_site})
    writer.wide_string(utf16(*text));
  return std::move(writer).serialised();
}

SecretBytes provider_2(const JoinSite& site) {
  NdrWriter writer;
  writer.number(site.flags);
  for (int i = 0; i < 3; ++i) writer.pointer(true);
  writer.number<std::uint32_t>(0);
  writer.pointer(false);
  for (const auto* text : {&site.netbios_name, &site.site, &site.primary_dns_domain})
    writer.wide_string(utf16(*text));
  return std::move(writer).serialised();
}

SecretBytes provider_3(const OdjBlob& blob) {
  NdrWriter writer;
  writer.number(blob.membership.machine_rid.value_or(0));
  writer.pointer(true);
  writer.wide_string(utf16(blob.account_sid));
  return std::move(writer).serialised();
}

void append_blob(NdrWriter& writer, ByteView bytes) {
  writer.number(static_cast<std::uint32_t>(bytes.size()));
  writer.append(bytes);
}

SecretBytes package(const OdjBlob& blob, const SecretBytes& joining) {
  std::vector<OdjBlob::Part> parts;
  parts.push_back({kJoinProvider, kEssential, joining});
  if (blob.site) parts.push_back({kJoinProvider2, 0, provider_2(*blob.site)});
  if (!blob.account_sid.empty()) parts.push_back({kJoinProvider3, 0, provider_3(blob)});
  for (const auto& part : blob.parts) parts.push_back(part);
  NdrWriter collection;
  collection.number(static_cast<std::uint32_t>(parts.size()));
  collection.pointer(true);
  collection.number<std::uint32_t>(0);
  collection.pointer(false);
  collection.number(static_cast<std::uint32_t>(parts.size()));
  for (const auto& part : parts) {
    collection.guid(part.type);
    collection.number(part.flags);
    collection.number(static_cast<std::uint32_t>(part.bytes.size()));
    collection.pointer(true);
    collection.number<std::uint32_t>(0);
    collection.pointer(false);
  }
  for (const auto& part : parts) append_blob(collection, part.bytes);
  const auto wrapped = std::move(collection).serialised();
  NdrWriter writer;
  writer.guid(Guid());  // not encrypted
  writer.number<std::uint32_t>(0);
  writer.pointer(false);
  writer.number(static_cast<std::uint32_t>(wrapped.size()));
  writer.pointer(true);
  writer.number<std::uint32_t>(0);
  writer.number<std::uint32_t>(0);
  writer.pointer(false);
  append_blob(writer, wrapped);
  return std::move(writer).serialised();
}

}  // namespace

Result<OdjBlob> parse_odj_data(ByteView data) {
  RS_TRY(auto reader, NdrReader::open(data));
  RS_TRY(const auto version, reader.number<std::uint32_t>());
  if (version != kVersion)
    return fail(ErrorCode::unsupported, "a blob of version " + std::to_string(version) + "; 1 is known");
  RS_TRY(const auto announced, reader.number<std::uint32_t>());
  RS_TRY(const auto has_blobs, reader.pointer());
  if (!has_blobs) return fail(ErrorCode::corrupt, "holds nothing");
  RS_TRY(const auto count, reader.array());
  if (count != announced)
    return fail(ErrorCode::corrupt,
                "holds " + std::to_string(count) + " blobs and announces " + std::to_string(announced));
  struct Header {
    std::uint32_t format = 0, bytes = 0;
    bool there = false;
  };
  std::vector<Header> headers(count);
  for (auto& header : headers) {
    RS_TRY(header.format, reader.number<std::uint32_t>());
    RS_TRY(header.bytes, reader.number<std::uint32_t>());
    RS_TRY(header.there, reader.pointer());
  }
  std::optional<OdjBlob> best;
  std::uint32_t best_format = 0;
  for (const auto& header : headers) {
    if (!header.there) continue;
    const auto where = "blob of format " + std::to_string(header.format);
    RS_TRY_CTX(const auto bytes, where, reader.bytes(header.bytes));
    OdjBlob one;
    bool joins = header.format == kWindows7;
    if (header.format == kWindows7) RS_CHECK_CTX(where, read_windows_7(bytes, one));
    if (header.format == kPackage) {
      RS_TRY_CTX(joins, where, read_package(bytes, one));
    }
    if (!joins) continue;
    RS_CHECK_CTX(where, check_membership(one.membership));
    if (best && (best->membership.machine_name != one.membership.machine_name ||
                 best->membership.machine_password != one.membership.machine_password ||
                 best->membership.domain.sid != one.membership.domain.sid))
      return fail(ErrorCode::conflict, "holds blobs of two machines, " + best->membership.machine_name +
                                           " and " + one.membership.machine_name);
    if (header.format > best_format) {
      best = std::move(one);
      best_format = header.format;
    }
  }
  if (!best) return fail(ErrorCode::unsupported, "holds no blob of format 1 or 2 that joins a domain");
  return std::move(*best);
}

Result<SecretBytes> write_odj_data(const OdjBlob& blob) {
  RS_CHECK(check_membership(blob.membership));
  for (const auto* text :
       {&blob.join_domain, &blob.controller.name, &blob.controller.address, &blob.controller.domain_name,
        &blob.controller.forest_name, &blob.controller.site, &blob.controller.client_site, &blob.account_sid})
    if (!is_wtf8(*text) || text->size() > 4000)
      return fail(ErrorCode::invalid_argument, "a text of the blob is too long or not Unicode");
  const auto joining = windows_7(blob);
  const auto whole = package(blob, joining);
  NdrWriter writer;
  writer.number(kVersion);
  writer.number<std::uint32_t>(2);
  writer.pointer(true);
  writer.number<std::uint32_t>(2);
  for (const auto& [format, bytes] : {std::pair(kWindows7, &joining), {kPackage, &whole}}) {
    writer.number(format);
    writer.number(static_cast<std::uint32_t>(bytes->size()));
    writer.pointer(true);
  }
  append_blob(writer, joining);
  append_blob(writer, whole);
  return std::move(writer).serialised();
}

OdjBlob make_odj_blob(Membership membership, Controller controller) {
  OdjBlob blob;
  blob.join_domain = membership.domain.dns_name;
  if (membership.machine_rid)
    blob.account_sid = membership.domain.sid.child(*membership.machine_rid).to_string();
  blob.membership = std::move(membership);
  blob.controller = std::move(controller);
  return blob;
}

}  // namespace roamstead::join
