// Runs applications under pm2, with their output in files of a folder, and pm2-logrotate beside them.
//
// usage: pm2_apps.js DIR COUNT COMPRESS PM2_HOME      the environment is that of journal.py
//
// When it is told to stop, the rotation ends first, then the applications. pm2 loses what an application wrote last,
// when that ends before pm2 has read it.
const fs = require('fs')
const path = require('path')
const timers = require('timers/promises')
const { promisify } = require('util')

const [dir, count, compress, home] = process.argv.slice(2)
process.env.PM2_HOME = home
const pm2 = require('pm2')
const call = (name, ...args) => promisify(pm2[name]).apply(pm2, args)

const apps = [...Array(Number(count)).keys()].map((number) => `app-${number}`)
const { JOURNAL, STOP, BACK, RUN } = process.env
const stop = `${home}/apps.stop`

// pm2 does not end with its parent, nor what it starts.
const start = (name, args, env) => call('start', {
  name,
  script: '/usr/bin/setpriv',
  args: ['--pdeathsig', 'KILL', '--', ...args],
  interpreter: 'none',
  autorestart: false,
  output: `${dir}/${name}-out.log`,
  error: `${dir}/${name}-error.log`,
  env,
})

async function main () {
  await call('connect', true)
  const writer = path.join(__dirname, 'plain_writer.py')
  for (const name of apps) {
    await start(name, ['python3', '-B', writer], { JOURNAL, BACK, STOP: stop, RUN: `${RUN}-${name}` })
  }
  const settings = { max_size: '20K', retain: '3', compress, workerInterval: '1', dateFormat: 'YYYY-MM-DD_HH-mm-ss-SSS' }
  const rotate = [process.execPath, require.resolve('pm2-logrotate')]
  await start('logrotate', rotate, { PM2_HOME: home, 'pm2-logrotate': JSON.stringify(settings) })
  while (!fs.existsSync(STOP)) await timers.setTimeout(50)
  await call('delete', 'logrotate')
  fs.writeFileSync(stop, '')
  const running = async () => (await call('list')).some((app) => app.name !== 'logrotate' && app.pm2_env.status === 'online')
  while (await running()) await timers.setTimeout(50)
  process.exit(0)
}

main()
