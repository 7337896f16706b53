-- Orthanc sends every study with radiographs to pneumo when it is stable, and again until it has arrived.
--
-- In Orthanc's configuration:
--   "LuaScripts"         : [ "/etc/orthanc/pneumo.lua" ],
--   "LuaHeartBeatPeriod" : 30,                seconds between two tries; Orthanc from 1.11.1 on
--   "DicomModalities"    : { "pneumo" : [ "PNEUMO", "127.0.0.1", 11112 ] }
--
-- What has not arrived yet stands in a file (PNEUMO_WAITING names it), one of Orthanc's own identifiers
-- on each line, so that Orthanc may be restarted at any time. Tries are made when a study becomes stable, when
-- one has arrived or has failed, and at each heart beat. One that failed goes to the end of the list and pauses,
-- longer each time, so that what cannot be delivered keeps nothing else up. An Orthanc without heart beats
-- tries it again with the next of those events. Sending twice is harmless: pneumo knows what it has.

MODALITY = 'pneumo'
KINDS = { CR = true, DX = true }   -- Modality (0008,0060) of a radiograph
AT_ONCE = 4                        -- studies under way at the same time
FILE = os.getenv('PNEUMO_WAITING') or '/var/lib/orthanc/pneumo-waiting.txt'

PAUSE = tonumber(os.getenv('PNEUMO_RETRY_S') or 30)  -- seconds after a first failure, then twice as long
LONGEST_PAUSE = 20 * PAUSE

waiting = {}    -- list of studies that have not arrived
under_way = {}  -- job -> { study, generation }
generation = {} -- study -> how often it became stable; a job takes only what there was when it began
failures = {}   -- study -> how often it failed since it last became stable
not_before = {} -- study -> time of the next try

function Initialize()
   local file = io.open(FILE, 'r')
   if file then
      for study in file:lines() do
         table.insert(waiting, study)
      end
      file:close()
   end
end

function OnStableStudy(study, tags, metadata)
   if HasRadiographs(study) then
      Forget(study)  -- to the end of the list
      generation[study] = (generation[study] or 0) + 1
      failures[study], not_before[study] = nil, nil
      table.insert(waiting, study)
      Save()
      SendWaiting()
   end
end

function OnJobSuccess(job)
   local sent = under_way[job]
   if sent then
      under_way[job] = nil
      -- Images that came while the job ran are not in it: then the study is sent again.
      if sent.generation == generation[sent.study] then
         Forget(sent.study)
         generation[sent.study], failures[sent.study], not_before[sent.study] = nil, nil, nil
         Save()
      end
      SendWaiting()
   end
end

function OnJobFailure(job)
   local sent = under_way[job]
   if sent then
      under_way[job] = nil
      print('pneumo did not take a study over; it will be sent again')
      Postpone(sent.study)
      SendWaiting()
   end
end

function OnHeartBeat()
   SendWaiting()
end

function SendWaiting()
   local busy, count = {}, 0
   for _, sent in pairs(under_way) do
      busy[sent.study] = true
      count = count + 1
   end
   local list = {}
   for _, study in ipairs(waiting) do
      table.insert(list, study)
   end
   for _, study in ipairs(list) do
      if count >= AT_ONCE then
         return
      end
      if not busy[study] and os.time() >= (not_before[study] or 0) then
         if not Exists(study) then  -- deleted meanwhile: it cannot be sent any more
            Forget(study)
            generation[study], failures[study], not_before[study] = nil, nil, nil
            Save()
         else
            local job = Send(study)
            if job then
               under_way[job] = { study = study, generation = generation[study] }
               count = count + 1
            else
               Postpone(study)
            end
         end
      end
   end
end

-- The job that sends it, or nil.
function Send(study)
   local order = DumpJson({ Resources = { study }, Synchronous = false }, true)
   local ok, answer = pcall(RestApiPost, '/modalities/' .. MODALITY .. '/store', order)
   return ok and answer and ParseJson(answer)['ID'] or nil
end

-- To the end of the list, and not at once again.
function Postpone(study)
   local pause = math.min(PAUSE * 2 ^ (failures[study] or 0), LONGEST_PAUSE)
   failures[study] = (failures[study] or 0) + 1
   not_before[study] = os.time() + pause
   Forget(study)
   table.insert(waiting, study)
   Save()
end

function HasRadiographs(study)
   for _, series in ipairs(ParseJson(RestApiGet('/studies/' .. study .. '/series'))) do
      if KINDS[series['MainDicomTags']['Modality']] then
         return true
      end
   end
   return false
end

function Exists(study)
   local ok, answer = pcall(RestApiGet, '/studies/' .. study)
   return ok and answer ~= nil and answer ~= ''
end

function Forget(study)
   for place = #waiting, 1, -1 do
      if waiting[place] == study then
         table.remove(waiting, place)
      end
   end
end

-- Written aside and renamed: whatever dies in between, the list is whole.
function Save()
   local file = assert(io.open(FILE .. '.part', 'w'))
   file:write(table.concat(waiting, '\n'), #waiting > 0 and '\n' or '')
   file:close()
   assert(os.rename(FILE .. '.part', FILE))
end
